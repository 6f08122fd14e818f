/** Many buttons as one stop of the Tab key. Arrow keys, Home and End go from one button to another. */

export function makeTabStop(container: HTMLElement): void {
  container.addEventListener("keydown", (event) => {
    const buttons = buttonsIn(container);
    const at = buttons.indexOf(event.target as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons[to]?.focus();
  });
  container.addEventListener("focusin", (event) => {
    for (const button of buttonsIn(container)) button.tabIndex = button === event.target ? 0 : -1;
  });
}

/** Put a button that is new in its container behind the others. */
export function joinTabStop(container: HTMLElement, button: HTMLButtonElement): void {
  button.tabIndex = buttonsIn(container)[0] === button ? 0 : -1;
}

function buttonsIn(container: HTMLElement): HTMLButtonElement[] {
  return [...container.querySelectorAll("button")];
}
