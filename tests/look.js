// What is wrong with how the page looks, as an expression: a list of texts.
(() => {
  const faults = [],
    root = document.documentElement;
  const say = (what, one) =>
    faults.push(
      `${what}: ${one.id || one.className?.baseVal || one.className || one.tagName} ${one.textContent.slice(0, 40)}`,
    );
  const numbers = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = numbers(color).map((one) =>
      (one /= 255) <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opaque = (color) => (numbers(color)[3] ?? 1) > 0.99;
  const behind = (one) => {
    while (one && !opaque(getComputedStyle(one).backgroundColor)) one = one.parentElement;
    return one ? getComputedStyle(one).backgroundColor : "rgb(255, 255, 255)";
  };
  const contrast = (one) => {
    const style = getComputedStyle(one),
      ink = one instanceof SVGElement ? style.fill : style.color;
    const [low, high] = [luminance(ink), luminance(behind(one))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  if (root.scrollWidth > innerWidth) say(`${root.scrollWidth - innerWidth} pixels too wide`, root);
  for (const one of document.querySelectorAll("body *")) {
    if (
      !one.checkVisibility() ||
      ["SCRIPT", "OPTION", "DATALIST"].includes(one.tagName) ||
      one.closest(".unseen, .skip")
    )
      continue;
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || one.tagName === "INPUT";
    if (own && !one.closest(":disabled") && contrast(one) < 4.5) say(`contrast ${contrast(one).toFixed(2)}`, one);
    if (own && parseFloat(getComputedStyle(one).fontSize) < 11) say("small text", one);
    const box = one.getBoundingClientRect();
    if (one.matches("button, input, select, summary") && box.height < 24) say(`target of ${box.height}`, one);
    if (own && !one.closest(".scroll") && box.width && (box.left < -1 || box.right > innerWidth + 1))
      say("outside", one);
    if (one.tagName === "text") {
      const all = one.ownerSVGElement.getBoundingClientRect();
      if (box.left < all.left - 1 || box.right > all.right + 1 || box.bottom > all.bottom + 1) say("cut", one);
    }
    if (one.matches("input, select") && !one.labels.length && !one.getAttribute("aria-label")) say("no label", one);
    if (one.matches("button, summary, a") && !(one.innerText.trim() || one.getAttribute("aria-label")))
      say("no name", one);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size < ids.length) faults.push("an id is there twice");
  return faults;
})();
