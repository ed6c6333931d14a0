"""``synap plugins``."""

from __future__ import annotations

from dataclasses import replace

import click

from synap_core.cli.main import BUILT_IN
from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.host import PluginRecord
from synap_core.payloads import Command as Extra


@click.command("plugins", cls=Command, context_settings=HELP_OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """List the installed plugins: enabled, disabled (by whom) or failed (why)."""
    records = [_with_reserved_names(record) for record in load_host(ctx).listing()]
    if as_json:
        import json

        click.echo(json.dumps([_as_json(record) for record in records], indent=2))
        return
    headers = ("KIND", "PLUGIN", "PROVIDES", "DISTRIBUTION", "VERSION", "STATE", "REASON")
    print_table(headers, [_row(record) for record in records])


def _with_reserved_names(record: PluginRecord) -> PluginRecord:
    taken = [name for kind, name in record.provides if kind == Extra.kind and name in BUILT_IN]
    reason = f"the command {taken[0]!r} is built in and cannot be replaced" if taken else record.reason
    return replace(record, reason=reason)


def _row(record: PluginRecord) -> tuple[str, ...]:
    provides = ", ".join(name for _, name in record.provides)
    reason = f"by {record.reason}" if record.state == "disabled" else record.reason
    return (record.kind, record.name, provides, record.distribution, record.version, record.state, reason)


def _as_json(record: PluginRecord) -> dict[str, object]:
    return {
        "kind": record.kind,
        "name": record.name,
        "provides": [{"kind": kind, "name": name} for kind, name in record.provides],
        "distribution": record.distribution,
        "version": record.version,
        "state": record.state,
        "disabled_by": record.reason if record.state == "disabled" else None,
        "reason": record.reason if record.state != "disabled" and record.reason else None,
    }
