"""What `reload` says of the daemon's verdict."""

from mcpnatsd.verbs.reload import rendered

STEPS = [
    {"sign": "~", "what": "server", "name": "a", "keys": ["env", "limits.call_timeout"]},
    {"sign": "+", "what": "endpoint", "name": "unix:/run/a.sock", "keys": []},
    {"sign": "~", "what": "nats", "name": "", "keys": ["url"]},
]
LINES = """\
~ server a (env, limits.call_timeout)
+ endpoint unix:/run/a.sock
~ nats (url)"""


def test_a_plan_has_a_line_for_each_step() -> None:
    assert rendered({"ok": True, "plan": STEPS}) == LINES


def test_without_a_change_it_says_so() -> None:
    assert rendered({"ok": True, "plan": []}) == "nothing changed"


def test_what_the_daemon_took_over_by_itself_is_shown_too() -> None:
    """Who edits a file and then asks is a moment later than the daemon."""
    before = {"ok": True, "at": "2026-11-21T18:00:00+00:00", "plan": STEPS}
    found = rendered({"ok": True, "plan": [], "before": before})

    assert found.startswith("nothing changed since 2026-11-21T18:00:00+00:00, when this was taken")
    assert found.endswith(LINES)
