"""What pages are built with, alone in a page."""

from tests.console.browsers import Browsing

_COUNTED_ROWS = """async () => {
  const { html, memo, render, useState } = await import("/static/js/html.js");
  const made = { a: 0, b: 0 };
  const Row = memo(({ id, text, act }) => {
    const [open, setOpen] = useState(false);
    made[id] += 1;
    return html`<button id=${id} onClick=${() => { setOpen(!open); act(id); }}>
      ${text}${open && " open"}
    </button>`;
  });
  const acted = [];
  const act = (id) => acted.push(id);
  const root = document.createElement("div");
  const later = () => new Promise((resolve) => setTimeout(resolve));
  const show = (a, more) =>
    render(
      html`<${Row} key="b" id="b" text="second" act=${act} />
        <${Row} key="a" id="a" text=${a} act=${act} ...${more} />`,
      root,
    );
  const texts = () => [...root.children].map((one) => one.textContent.trim().replace(/\\s+/g, " "));
  const steps = [];
  const note = () => steps.push([{ ...made }, texts()]);
  show("first");
  note();
  show("first");
  note();
  show("other");
  note();
  root.querySelector("#b").click();
  await later();
  note();
  show("other", { extra: 1 });
  note();
  return { steps, acted };
}"""


def test_a_memo_is_made_anew_for_other_props_and_for_its_own_state_only(browse: Browsing) -> None:
    page = browse("/sign-in")
    found = page.evaluate(_COUNTED_ROWS)
    assert found["steps"] == [
        [{"a": 1, "b": 1}, ["second", "first"]],
        [{"a": 1, "b": 1}, ["second", "first"]],
        [{"a": 2, "b": 1}, ["second", "other"]],
        [{"a": 2, "b": 2}, ["second open", "other"]],
        [{"a": 3, "b": 2}, ["second open", "other"]],
    ]
    assert found["acted"] == ["b"]
