/** Show what anybody would be shown. */
function showCatalogue() {
  for (const [name, label] of [
    ["popular", "Popular items"],
    ["trending", "Trending items"],
  ])
    showList(find(name), label, (cursor) => ask("GET", ["v1", state.namespace, name], { query: listQuery(K, cursor) }));
}
