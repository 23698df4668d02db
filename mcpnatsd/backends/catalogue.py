"""What one server is known to be: its eras, its tools, what its endpoints have done."""

from dataclasses import replace
from hashlib import sha256

from mcpnatsd.backends.recall import Known, Recall
from mcpnatsd.config.model import EraChoice, ServerConfig
from mcpnatsd.protocol import discovery, eras, tool_rules
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.statistics import Statistics
from mcpnatsd.protocol.tool_rules import ToolRules


def identity(config: ServerConfig) -> str:
    """Return a hash of what runs. Arguments may hold secrets: of them only the number counts."""
    where = (config.url or "").partition("?")[0]  # and so may a query
    known = (config.name, where or config.command[0], len(config.command))
    return sha256(repr(known).encode()).hexdigest()[:16]


class Catalogue:
    """Learns from the answers that pass, and remembers it for the next run."""

    def __init__(self, config: ServerConfig, recall: Recall) -> None:
        self.rules = ToolRules(config.name, config.tools.allow, config.tools.deny)
        self.statistics = Statistics()
        self._config = config
        self._recall = recall
        self._known = recall.recall(config)
        self._pages: tuple[str, ...] = ()
        self._refused = False
        self.statistics.know(self.tools)

    @property
    def verdict(self) -> Verdict:
        """What is known of its eras; `era:` in the configuration wins."""
        if self._config.era is EraChoice.MODERN:
            return replace(self._known.verdict, modern=True, legacy=False)
        if self._config.era is EraChoice.LEGACY:
            return replace(self._known.verdict, modern=False, legacy=True)
        return self._known.verdict

    @property
    def surely_modern(self) -> bool:
        """Whether it takes no session, as was said or seen in this run."""
        return self._config.era is EraChoice.MODERN or (bool(self.verdict.modern) and self._refused)

    @property
    def tools(self) -> tuple[str, ...]:
        """Its tools that may be called; none when they were never listed."""
        return tuple(name for name in self._known.tools or () if self.rules.permits(name))

    @property
    def listed(self) -> bool:
        return self._known.tools is not None

    @property
    def metadata(self) -> dict[str, str]:
        """What discovery tells of it."""
        return {
            discovery.ERAS: self.verdict.names,
            discovery.IDENTITY: identity(self._config),
            discovery.TOOLS: str(len(self.tools)) if self.listed else "",
            discovery.REVISIONS: ",".join(self.verdict.revisions),
        }

    def learn_verdict(self, verdict: Verdict) -> None:
        if verdict.legacy is not None:
            self._refused = not verdict.legacy
        self._keep(replace(self._known, verdict=eras.merged(self._known.verdict, verdict)))

    def learn_page(self, response: Response, line: bytes) -> bytes:
        """Learn from an answer to `tools/list`; return what its caller may see of it."""
        if not response.is_error:
            names = tuple(map(tool_rules.tool_name, tool_rules.tools_in(response)))
            self._pages = tuple(dict.fromkeys((*self._pages, *filter(None, names))))
            if tool_rules.cursor_in(response) is None:
                tools, self._pages = self._pages, ()
                self._keep(replace(self._known, tools=tools))
        return self.rules.filtered(response, line)

    def _keep(self, known: Known) -> None:
        if known != self._known:
            self._known = known
            self._recall.keep(self._config, known)
        self.statistics.know(self.tools)
