"""`prospect serve`: a model that is in use, with its answers recorded and thumbs taken."""

from __future__ import annotations

import argparse
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.cli.serving import add_reviewers, add_store, needs_serve, share
from prospect.errors import UsageError
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.collect.canary import Canary
    from prospect.collect.held import HeldModels
    from prospect.collect.keys import KeyRing
    from prospect.collect.store import Store
    from prospect.collect.upstream import Upstream

STORE_KEYS = "store"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SHUTDOWN_SECONDS = 10  # for answers under way; then they are cut, and recorded so


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.set_defaults(quiet=True)  # a server is silent while nothing happens
    answers = parser.add_mutually_exclusive_group(required=True)
    answers.add_argument(
        "--upstream",
        metavar="URL[#MODEL]",
        help="an OpenAI-compatible server, such as http://localhost:8000/v1; MODEL answers whatever clients name",
    )
    answers.add_argument("--model", metavar="M", help="a run or any other model, answered from this process on its CPU")
    add_store(parser, tenant=False)
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="API keys that are accepted: a file of prospect collect keys, or the word store for those in the store",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="the port; 0 takes a free one (default: 8080)")
    parser.add_argument("--api-key-env", metavar="NAME", help="the environment variable that holds the upstream's key")
    second = parser.add_mutually_exclusive_group()
    second.add_argument(
        "--canary", metavar="RUN=5%%", help="a second model of the upstream for this share of the conversations"
    )
    second.add_argument(
        "--registry",
        type=Path,
        metavar="DIR",
        help="the models that prospect promote names there answer, of the upstream or, with --model, loaded by this "
        "process; a canary that is worse is rolled back",
    )
    second.add_argument(
        "--shadow",
        metavar="MODEL=5%%",
        help="a second model of the upstream answers this share of the requests again, unseen, for people to compare",
    )
    parser.add_argument(
        "--consent",
        choices=("ask", "given"),
        default="ask",
        help="whether text is kept where a request does not say x-prospect-consent: given keeps it (default: ask)",
    )
    parser.add_argument(
        "--store-text",
        choices=("whole", "redacted"),
        help="redacted replaces e-mail addresses and other personal data before anything is written, from now on and "
        "for every server of the store (default: as the store was told last; whole at first)",
    )
    parser.add_argument(
        "--ask",
        type=share,
        default="5%",
        metavar="SHARE",
        help="the share of the turns whose readers the chat page asks for a vote, drawn by chance (default: 5%%)",
    )
    parser.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help="pages of this origin may send votes"
    )
    add_reviewers(parser)
    parser.add_argument(
        "--rate",
        type=float,
        default=100.0,
        help="completions a second for each API key, and half of its votes (default: 100)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    with needs_serve("prospect serve"):
        import uvicorn

        from prospect.collect.access import Access
        from prospect.collect.app import Serving, make_app
        from prospect.collect.canary import Canary
        from prospect.collect.limits import Limits
        from prospect.collect.store import Store
        from prospect.collect.tokens import Signer
    _check(options)
    canary = None if options.canary is None else Canary.parse(options.canary)
    shadow = None if options.shadow is None else Canary.parse(options.shadow, "--shadow")
    upstream, model = _upstream(options, canary)
    serving = Serving(
        model=model,
        canary=canary,
        shadow=shadow,
        registry=None if options.registry is None else options.registry.expanduser(),
        consent=options.consent == "given",
        origins=options.allow_origin,
        ask=options.ask,
        limits=Limits(requests=options.rate, votes=2 * options.rate),
        reviewers=options.reviewers,
    )
    with contextlib.ExitStack() as opened:
        store = Store.open(options.db, text=options.store_text)
        opened.callback(store.close)
        app = make_app(store, upstream, Access(_keys(options, store), Signer()), serving)
        listener = opened.enter_context(_listen(options.host, options.port))
        config = uvicorn.Config(
            app,
            access_log=False,  # it would hold addresses of people
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        host, port = listener.getsockname()[:2]
        place = f"[{host}]" if ":" in host else host
        say(f"http://{place}:{port}/v1 in front of {options.upstream or options.registry or options.model}")
        kept = "texts are kept" if serving.consent else "texts are kept of requests with x-prospect-consent: yes alone"
        kept += ", with personal data replaced" if store.redacts else ""
        say(f"store    {store.database.name}; {kept}")
        say(f"pages    http://{place}:{port}/ to chat and vote on, /review and /admin")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.host not in _LOOPBACK and options.keys is None:
        raise UsageError(
            f"--host {options.host}: without keys everybody who reaches this address could read and vote. Make keys "
            "with prospect collect keys and name them with --keys, or listen on 127.0.0.1."
        )
    if options.api_key_env is not None and options.upstream is None:
        raise UsageError("--api-key-env: it is for --upstream; a model of this process needs no key.")
    if options.shadow is not None and "#" not in (options.upstream or ""):
        raise UsageError("--shadow: beside which model of a server? Name it: --upstream URL#MODEL.")
    if not options.rate > 0:
        raise UsageError(f"--rate {options.rate:g}: expected more than 0.")
    if not 0 <= options.port < 2**16:
        raise UsageError(f"--port {options.port}: expected 0 to {2**16 - 1}.")


def _upstream(options: argparse.Namespace, canary: Canary | None) -> tuple[Upstream, str]:
    """Return who answers, and the model to ask it for; empty for the one that the client names."""
    if options.upstream is not None:
        from prospect.collect.upstream import HttpUpstream

        url, _, model = options.upstream.partition("#")
        if canary is not None and not model:
            raise UsageError("--canary: compared with which model? Name it: --upstream URL#MODEL.")
        return HttpUpstream(url, options.api_key_env), model
    from prospect.cli.train import quiet_libraries
    from prospect.collect.local import LocalUpstream

    quiet_libraries()
    models, name = _models(options, canary)
    return LocalUpstream(models), name


def _models(options: argparse.Namespace, canary: Canary | None) -> tuple[HeldModels, str]:
    """Return the models of this process, and which of them answers.

    They are those of the registry, or that of the command as long as none is current there.
    """
    from prospect.cli.announce import announce_gguf
    from prospect.collect.held import HeldModels
    from prospect.collect.local_job import LocalModel
    from prospect.collect.registry import Registry

    registry = None if options.registry is None else Registry(options.registry.expanduser()).read()
    if registry is None or registry.current is None:
        names = [options.model, *([canary.model] if canary is not None else [])]
        announce_gguf(*names)
        return HeldModels([LocalModel.load(name) for name in names]), options.model
    models = HeldModels([])
    for entry in filter(None, (registry.current, registry.canary)):
        announce_gguf(entry.source)
        models.load(entry)
    return models, registry.current.model


def _keys(options: argparse.Namespace, store: Store) -> KeyRing | None:
    if options.keys is None:
        return None
    from prospect.collect.keys import KeyFile, KeyRing, StoredKeys
    from prospect.feedback.frozen.pseudonym import rater_key

    place = StoredKeys(store.database) if options.keys == STORE_KEYS else KeyFile(Path(options.keys).expanduser())
    if not place.all():
        raise UsageError(f"--keys {options.keys}: there is no key. Make one with prospect collect keys.")
    return KeyRing([place], rater_key())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UsageError(f"{host}:{port}: cannot be listened on: {error.strerror}. Choose another --port.") from None
