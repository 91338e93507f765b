// Where a year is wider than the screen, show its newest readings first.

for (const region of document.querySelectorAll("[data-newest]")) {
  region.scrollLeft = region.dataset.newest * region.scrollWidth - 0.9 * region.clientWidth;
}
