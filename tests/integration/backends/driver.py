"""A daemon for the tests to kill: it starts servers with families and says who they all are.

python -m tests.integration.backends.driver
"""

import asyncio
import json

from mcpnatsd.backends.reaper import open_reaper
from tests.integration.backends.owner import Owner, spec_of


async def main() -> None:
    async with open_reaper() as reaper:
        pids = []
        for args in ([], ["bare"]):
            owner = Owner()
            process = await owner.start(reaper, spec_of("grandchildren", *args))
            message = await owner.message()
            pids += [process.pid, *message["params"]["pids"]]
        print(json.dumps([reaper.pid, *pids]), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
