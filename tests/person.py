"""What a person does on the pages, for tests that drive them."""

from streamlit.testing.v1 import AppTest

from pages.components.session import Visit

File = tuple[str, bytes, str]
"""Name, content and media type, as a browser sends them."""


def opened(app: AppTest, page: str, visit: Visit | None) -> AppTest:
    """Go to a page, with a study that was segmented before or with none."""
    app.run()
    if visit is not None:
        app.session_state["visit"] = visit
    app.switch_page(page).run()
    assert not app.exception
    return app


def upload(app: AppTest, title: str, file: File) -> AppTest:
    next(u for u in app.file_uploader if u.label == title).set_value(file)
    app.run()
    assert not app.exception
    return app
