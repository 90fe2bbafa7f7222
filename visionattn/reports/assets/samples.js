// A sample, larger: a click or Enter opens it with the layers that are switched on; the arrow keys go to the next one.
const zoom = $("dialog.zoom");
let open = null;

function showSample(figure) {
  open = figure;
  const block = figure.closest(".samples-block"), plate = $(".plate", figure).cloneNode(true);
  const [width, height] = plate.style.aspectRatio.split("/").map(Number);
  plate.removeAttribute("tabindex");
  plate.removeAttribute("role");
  plate.style.width = `min(100%, calc(72vh * ${width / height}))`;
  const switches = $$(".switch", block).map((one) => {
    const copy = one.cloneNode(true), source = $("input", one), box = $("input", copy);
    box.checked = source.checked;
    box.addEventListener("change", () => { source.checked = box.checked; });
    return copy;
  });
  const button = (text, act) => {
    const made = element("button", { type: "button", class: "plain" }, text);
    made.addEventListener("click", act);
    return made;
  };
  const bar = element("div", { class: "bar-of-zoom" }, ...switches, button("←", () => step(-1)), button("→", () => step(1)), button("Close", () => zoom.close()));
  zoom.replaceChildren(element("div", { class: "samples-block" }, bar, plate), $("figcaption", figure).cloneNode(true));
  if (!zoom.open) zoom.showModal();
}

function step(by) {
  const figures = $$(".sample", open.closest(".samples"));
  showSample(figures[(figures.indexOf(open) + by + figures.length) % figures.length]);
}

for (const plate of $$(".sample .plate")) {
  plate.addEventListener("click", () => showSample(plate.closest(".sample")));
  plate.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    showSample(plate.closest(".sample"));
  });
}
// The pointer tells the name of the region below it, of every layer that has one there.
async function tellRegions(plate, event) {
  const box = plate.getBoundingClientRect(), { clientX, clientY } = event, rows = [];
  for (const image of $$("img[data-names]", plate)) {
    image.read ??= pixels(image.src);
    const data = await image.read, width = image.naturalWidth, height = image.naturalHeight;
    const column = Math.min(Math.floor(((clientX - box.left) / box.width) * width), width - 1);
    const row = Math.min(Math.floor(((clientY - box.top) / box.height) * height), height - 1);
    const [red, green, blue, alpha] = data.slice(4 * (row * width + column), 4 * (row * width + column) + 4);
    const color = `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
    const name = alpha ? JSON.parse(image.dataset.names)[color] : null;
    if (name) rows.push(element("div", { class: "row" }, element("span", { class: "swatch", style: `background:${color}` }), image.dataset.layerName, element("b", {}, name)));
  }
  if (rows.length && plate.matches(":hover")) tip.show(clientX, clientY, ...rows);
  else if (plate.matches(":hover")) tip.hide();
}

document.addEventListener("pointermove", (event) => {
  const plate = event.target.closest?.(".plate");
  if (plate && $("img[data-names]", plate)) tellRegions(plate, event);
});
zoom.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
zoom.addEventListener("close", () => { $(".plate", open)?.focus(); tip.hide(); });
