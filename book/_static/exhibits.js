/* Copy the citation of a figure or table. */
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.exhibit-copy");
  if (!button) return;
  const text = button.parentElement.querySelector(".exhibit-citation").textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector(".exhibit-citation"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected: press Ctrl+C";
  }
});

/* The theme's arrows in the table of contents have no words: say what they open. */
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("nav summary")) {
    const link = summary.parentElement.parentElement.querySelector("a");
    if (link && !summary.textContent.trim()) summary.setAttribute("aria-label", `Pages below ${link.textContent.trim()}`);
  }
});

/* A link into something folded opens it. */
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const folded = [];
  for (let one = target.closest("details"); one; one = one.parentElement.closest("details")) folded.push(one);
  folded.forEach((one) => (one.open = true));
  if (folded.length) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
addEventListener("DOMContentLoaded", unfold);

/* A table wider than its box says so. */
const mark = () => {
  for (const box of document.querySelectorAll(".bd-article .pst-scrollable-table-container"))
    box.classList.toggle("is-wide", box.scrollWidth > box.clientWidth + 1);
};
addEventListener("load", mark);
addEventListener("resize", mark);
document.addEventListener("toggle", mark, true);

/* A figure opens as wide as the screen, or wider on a phone, where it scrolls; a click or Escape closes it. */
addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll(".bd-article figure > img")) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "enlarge", title: "Enlarge" });
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      const dialog = document.createElement("dialog");
      dialog.className = "enlarged";
      dialog.ariaLabel = "Figure, enlarged";
      dialog.append(image.cloneNode());
      dialog.addEventListener("click", () => dialog.close());
      dialog.addEventListener("keydown", (event) => event.key === "Escape" && dialog.close()); // the theme takes the key
      dialog.addEventListener("close", () => dialog.remove());
      document.body.append(dialog);
      dialog.showModal();
    });
  }
});
