"""``synap schema``."""

from __future__ import annotations

import json

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options


@click.command("schema", cls=Command, context_settings=HELP_OPTIONS)
@plugin_options
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print the JSON Schema of the metafile.

    An editor that knows YAML completes and checks metafiles with it. Save it to a file and name that file in the
    metafile's first line: # yaml-language-server: $schema=FILE
    """
    from synap_core.convert import known_delegates
    from synap_core.metafile import metafile_schema

    host = load_host(ctx)
    schema = metafile_schema(delegates=known_delegates(host), algorithms=list(host.quantization_algorithms))
    click.echo(json.dumps(schema, indent=2))
