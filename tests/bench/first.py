import sys, json, statistics, time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from tests.bench import programs
from tests.bench.paths import *
from tests.natsd import NatsServer
rounds=int(sys.argv[1]); secs=float(sys.argv[2])
with ExitStack() as st:
    f=Path(st.enter_context(TemporaryDirectory()))
    n=st.enter_context(NatsServer(f/"nats"))
    d=st.enter_context(programs.daemon(f/"d",n.url,{"bench":{"command":programs.SERVER}}))
    ms=[Measured("stdio",st.enter_context(client(programs.SERVER,"modern",f/"a",None))),
     Measured("natspy",NatsPy(n.url,st)),Measured("natspy-uv",NatsPy(n.url,st,"uvloop")),
     Measured("modern",st.enter_context(client(d.connect(),"modern",f/"m",d.env))),
     Measured("legacy",st.enter_context(client(d.connect(),"legacy",f/"l",d.env)))]
    for r in range(rounds):
        for m in ms: m.round(secs)
    for m in ms:
        md=lambda x:statistics.median(x) if x else -1
        print(f"{m.name:10} p50 {md(m.p50)*1e6:8.0f} us  p99 {md(m.p99)*1e6:8.0f} us  c64 {md(m.rate):8.0f}/s ({min(m.rate or [0]):.0f}-{max(m.rate or [0]):.0f}) 500KB {md(m.big)*1e3:6.2f} ms {m.failed}")
