"""`just screenshots` leaves no page out."""

import re

from tests.console.browsers import Browsing
from tests.console.pictures import views
from tests.console.world import World


def test_every_page_of_the_router_has_a_picture(browse: Browsing, world: World) -> None:
    page = browse("/sign-in")
    patterns = page.evaluate(
        "import('/static/js/router.js').then((router) => router.PAGES.map((one) => one.pattern))"
    )
    assert len(patterns) > 10
    paths = [view.path.split("?")[0] for view in views(world).values()]
    for pattern in patterns:
        wanted = re.compile(re.sub(r":\w+", "[^/]+", pattern))
        assert any(wanted.fullmatch(path) for path in paths), pattern
