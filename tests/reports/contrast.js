// Return [contrast, text] of each text of the page that is visible, with what is painted behind it:
// the backgrounds of the elements that contain it, and the shapes of a figure that are under it.
// Contrast is that of WCAG 2.2.
(() => {
  const parsed = (color) => {
    const [r, g, b, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return [r, g, b, alpha];
  };
  const over = (top, share, below) => [0, 1, 2].map((i) => top[i] * share + below[i] * (1 - share));
  const luminance = (color) => color
    .map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const opacity = (element) => (element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
    if (!text || element.closest("script, title, noscript") || !element.checkVisibility()) continue;
    const svg = element.closest("svg"), containing = [];
    for (let each = element; each; each = each.parentElement) containing.unshift(each);
    let behind = [255, 255, 255];
    for (const each of containing) {
      const color = parsed(getComputedStyle(each).backgroundColor);
      behind = over(color, color[3], behind);
    }
    const { x, y, width, height } = element.getBoundingClientRect();
    for (const shape of svg?.querySelectorAll("path, rect") ?? []) {
      const box = shape.getBoundingClientRect(), { fill, fillOpacity } = getComputedStyle(shape);
      const inside = box.left <= x + width / 2 && x + width / 2 <= box.right
        && box.top <= y + height / 2 && y + height / 2 <= box.bottom;
      const painted = shape.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (!inside || !painted || fill === "none" || shape.closest("defs, clipPath")) continue;
      const color = parsed(fill);
      behind = over(color, color[3] * fillOpacity * opacity(shape), behind);
    }
    const color = parsed(getComputedStyle(element)[svg ? "fill" : "color"]);
    found.push([contrast(over(color, color[3] * opacity(element), behind), behind), text]);
  }
  return found;
})()
