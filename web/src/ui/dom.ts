/** Short forms for building the page. Texts are always set as text, never as HTML. */

export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The name of a finding, which may be broken into lines after an underscore. */
export function breakable(name: string): (Node | string)[] {
  return name.split(/(?<=_)/).flatMap((part, position) => (position ? [element("wbr"), part] : [part]));
}
