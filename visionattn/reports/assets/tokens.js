// Token maps: the token under the pointer, or chosen by the arrow keys, and what it attends to as a shade on the image.
class Tokens {
  constructor(figure) {
    this.figure = figure;
    const data = JSON.parse($("script", figure).textContent);
    this.maps = data.maps;
    this.plate = $(".plate", figure);
    this.canvas = $("canvas", figure);
    [this.v, this.u] = data.start;
    this.pinned = false;
    if (this.maps.length > 1) $(".choices", figure).append(this.select());
    else $(".choices", figure).remove();
    this.plate.addEventListener("pointermove", (event) => { if (!this.pinned) this.point(event); });
    this.plate.addEventListener("pointerdown", (event) => { this.pinned = event.pointerType === "mouse" && !this.pinned; this.point(event); });
    this.plate.addEventListener("keydown", (event) => this.key(event));
    this.choose(0);
  }
  select() {
    const made = element("select", { "aria-label": "Which attention" }, ...this.maps.map((map, index) => element("option", { value: index }, map.name)));
    made.addEventListener("change", () => this.choose(Number(made.value)));
    return made;
  }
  async choose(index) {
    this.map = this.maps[index];
    this.map.read ??= pixels(this.map.image);
    this.values = await this.map.read;
    this.draw();
  }
  point(event) {
    const box = this.plate.getBoundingClientRect();
    this.u = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.9999);
    this.v = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 0.9999);
    this.draw();
  }
  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [rows, columns] = this.map.queries, clamp = (value) => Math.min(Math.max(value, 0), 0.9999);
    this.v = clamp((Math.floor(this.v * rows) + 0.5 + moves[event.key][0]) / rows);
    this.u = clamp((Math.floor(this.u * columns) + 0.5 + moves[event.key][1]) / columns);
    this.draw();
  }
  draw() {
    if (!this.values) return;
    const [rows, columns] = this.map.queries, [height, width] = this.map.keys;
    const row = Math.floor(this.v * rows), column = Math.floor(this.u * columns), query = row * columns + column;
    const shade = new ImageData(width, height);
    let best = 0;
    for (let key = 0; key < height * width; key++) {
      const value = this.values[4 * (query * height * width + key)];
      if (value > this.values[4 * (query * height * width + best)]) best = key;
      const t = value / 255;
      shade.data.set([255, Math.round(215 - 150 * t), Math.round(70 * (1 - t)), Math.round(165 * Math.sqrt(t))], 4 * key);
    }
    Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d").putImageData(shade, 0, 0);
    const token = $(".token", this.figure).style;
    Object.assign(token, { left: `${(100 * column) / columns}%`, top: `${(100 * row) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
    const most = `row ${Math.floor(best / width) + 1}, column ${(best % width) + 1} of ${height} x ${width}`;
    const text = `Token in row ${row + 1}, column ${column + 1} of ${rows} x ${columns} attends most to ${most}: ${number(this.map.largest[query])}.`;
    $(".told", this.figure).textContent = `${text} A click holds it.`;
  }
}

for (const figure of $$('[data-chart="tokens"]')) new Tokens(figure);
