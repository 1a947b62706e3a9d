"""`glip serve`: one loaded model behind HTTP."""

from __future__ import annotations

from typing import Annotated

from glip_cli.cli import flags
from glip_cli.cli.command import Fields, Values, command
from glip_cli.cli.console import Console
from glip_cli.cli.model import local_model
from glip_cli.errors import UsageError
from glip_cli.server.options import ServeOptions
from glip_cli.utils.startup import collect_as_usual

EPILOG = "Example: glip serve -m glip-t --port 8000"


@command
def serve(
    *,
    model_flags: flags.AnyModelFlags,
    serving: Annotated[Values, Fields(ServeOptions)],
    common: flags.CommonFlags,
) -> None:
    """Serve a model over HTTP, with a page to use in a browser."""
    options = ServeOptions(**serving)
    try:
        import prometheus_client  # noqa: F401  needed after the model is loaded
        import python_multipart  # noqa: F401  else missed at the first form

        from glip_cli.server.run import bind, run, url_of
    except ImportError as error:
        raise UsageError(
            f"glip serve needs {error.name}, which is not installed: pip install 'glip-cli[serve]'"
        ) from None
    console = Console(common.quiet)
    bound = bind(options)
    model = local_model(model_flags, console, offline=common.offline)

    from glip_cli.inference.device import on_one_thread
    from glip_cli.server.app import create_app

    with on_one_thread():  # the model's own thread gets the OpenMP threads
        detector = model.detector()
    collect_as_usual()
    run(create_app(detector, options), bound, options, lambda: console.info(f"glip serve: {url_of(bound)}"))
