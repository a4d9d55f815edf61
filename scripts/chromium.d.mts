export function findChromium(): string | undefined;
export function vulkanEnvironment(): Record<string, string>;
