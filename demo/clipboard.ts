/** Copies a text; where the browser does not allow it, says so. */
export async function copyText(words: string, tell: (outcome: string) => void): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(words);
    tell("Copied.");
    return true;
  } catch {
    tell("The browser did not allow the copy.");
    return false;
  }
}
