/** The element with this id, of the class that the page has there. */
export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} with the id "${id}".`);
  return found;
}

export function text(id: string, value: string): void {
  element(id, HTMLElement).textContent = value;
}

/** A new element with text in it. */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, content = ""): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

export function fillSelect(select: HTMLSelectElement, options: readonly (readonly [value: string, title: string])[]): void {
  const before = select.value;
  select.replaceChildren(...options.map(([value, title]) => new Option(title, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}
