/** Calls `listener` once, when the element comes near to what is on the screen: what nobody looks at costs nothing. */
export function whenSeen(target: Element, listener: () => void): void {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      listener();
    },
    { rootMargin: "100px" },
  );
  observer.observe(target);
}
