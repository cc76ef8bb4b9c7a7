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
