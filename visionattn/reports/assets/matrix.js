// Large matrices: the pointer tells the names of row and column, and the share that the shade stands for.
async function pixels(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = element("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height).data;
}

for (const figure of $$('[data-chart="matrix"]')) {
  const data = JSON.parse($("script", figure).textContent), plate = $(".plate", figure);
  const read = pixels(plate.style.maskImage.slice(5, -2));
  let row = 0, column = 0;
  const tell = async (x, y) => {
    const alpha = (await read)[4 * (row * data.columns.length + column) + 3], share = (alpha / 255) ** 2;
    const total = data.totals[row], text = `${data.rows[row]} → ${data.columns[column]}`;
    const told = alpha ? `about ${number(Math.max(1, Math.round(share * total)))} of ${number(total)} (${Math.round(100 * share)} %)` : `0 of ${number(total)}`;
    tip.show(x, y, element("b", {}, text), element("div", {}, told));
  };
  plate.addEventListener("pointermove", (event) => {
    const box = plate.getBoundingClientRect();
    row = Math.min(Math.max(Math.floor(((event.clientY - box.top) / box.height) * data.rows.length), 0), data.rows.length - 1);
    column = Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * data.columns.length), 0), data.columns.length - 1);
    tell(event.clientX, event.clientY);
  });
  plate.addEventListener("pointerleave", () => tip.hide());
  figure.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    row = Math.min(Math.max(row + moves[event.key][0], 0), data.rows.length - 1);
    column = Math.min(Math.max(column + moves[event.key][1], 0), data.columns.length - 1);
    const box = plate.getBoundingClientRect();
    tell(box.left + ((column + 0.5) / data.columns.length) * box.width, box.top + ((row + 0.5) / data.rows.length) * box.height);
  });
  figure.addEventListener("blur", () => tip.hide());
}
