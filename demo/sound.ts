/** Sounds: made here, dropped in, or recorded. Mono, 16 kHz, as long as the sequence. */
import { normal } from "./random.ts";

export const SAMPLE_RATE = 16_000;
/** Samples, and so tokens: two seconds. */
export const SOUND_LENGTH = 32_768;
export const LARGEST_FILE = 20 * 2 ** 20;
const RECORDED_SECONDS = 2;

export type SoundName = "pluck" | "chord" | "noise";

export const SOUNDS: Readonly<Record<SoundName, { readonly title: string; make(): Float32Array<ArrayBuffer> }>> = {
  pluck: { title: "Plucked string", make: pluck },
  chord: { title: "Chord", make: chord },
  noise: { title: "Noise in bursts", make: noise },
};

/** What the reader can do about it is in its message. */
export class SoundError extends Error {}

/** @throws SoundError where the file is too large or is no sound */
export async function readSound(file: Blob, name: string): Promise<Float32Array<ArrayBuffer>> {
  if (file.size > LARGEST_FILE) throw new SoundError(`“${name}” has ${Math.ceil(file.size / 2 ** 20)} MiB. Choose a sound of up to 20 MiB.`);
  const context = new OfflineAudioContext(1, SOUND_LENGTH, SAMPLE_RATE);
  const decoded = await file
    .arrayBuffer()
    .then((bytes) => context.decodeAudioData(bytes))
    .catch((error: unknown) => {
      throw new SoundError(`“${name}” is no sound that this browser can read. Choose a WAV, MP3, Ogg or M4A file.`, { cause: error });
    });
  const mono = new Float32Array(SOUND_LENGTH);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded
      .getChannelData(channel)
      .subarray(0, SOUND_LENGTH)
      .forEach((sample, n) => (mono[n]! += sample / decoded.numberOfChannels));
  }
  return mono;
}

/** @throws SoundError where there is no microphone, or the reader does not allow its use */
export async function record(): Promise<Float32Array<ArrayBuffer>> {
  const devices = navigator.mediaDevices as MediaDevices | undefined; // only on secure pages
  if (!devices || !("MediaRecorder" in globalThis)) throw new SoundError("This browser does not record sounds here. Choose a file instead.");
  const stream = await devices.getUserMedia({ audio: true }).catch((error: unknown) => {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    const why = refused ? "The microphone was not allowed." : "There is no microphone that can be used.";
    throw new SoundError(`${why} Choose a file, or one of the sounds that the page makes.`, { cause: error });
  });
  try {
    const recorder = new MediaRecorder(stream);
    const parts: Blob[] = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    const stopped = new Promise<void>((resolve) => recorder.addEventListener("stop", () => resolve()));
    recorder.start();
    await new Promise((resolve) => setTimeout(resolve, 1000 * RECORDED_SECONDS));
    recorder.stop();
    await stopped;
    return await readSound(new Blob(parts, { type: recorder.mimeType }), "the recording");
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

/** Plays one sound at a time. */
export class Player {
  #context: AudioContext | undefined;
  #source: AudioBufferSourceNode | undefined;

  /** @param onEnd when it ends, or gives way to another */
  play(samples: Float32Array<ArrayBuffer>, onEnd: () => void): void {
    this.stop();
    const context = (this.#context ??= new AudioContext());
    void context.resume();
    const buffer = context.createBuffer(1, samples.length, SAMPLE_RATE);
    buffer.copyToChannel(samples, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.addEventListener("ended", () => {
      if (this.#source === source) this.#source = undefined;
      onEnd();
    });
    source.start();
    this.#source = source;
  }

  stop(): void {
    this.#source?.stop();
    this.#source = undefined;
  }
}

/** Karplus and Strong (1983): noise that goes round a delay line and is smoothed every time. */
function pluck(): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(SOUND_LENGTH);
  [220, 277.18, 329.63, 440].forEach((pitch, note) => {
    const random = normal(51 + note);
    const period = Math.round(SAMPLE_RATE / pitch);
    const line = Float32Array.from({ length: period }, () => 0.12 * random());
    for (let n = Math.floor((note * SOUND_LENGTH) / 5); n < SOUND_LENGTH; n++) {
      const at = n % period;
      samples[n]! += line[at]!;
      line[at] = 0.498 * (line[at]! + line[(at + 1) % period]!);
    }
  });
  return samples;
}

function chord(): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: SOUND_LENGTH }, (_, n) => {
    const envelope = Math.min(1, n / 800) * Math.min(1, (SOUND_LENGTH - n) / 4000);
    const at = (2 * Math.PI * n) / SAMPLE_RATE;
    return 0.16 * envelope * (Math.sin(220 * at) + Math.sin(440 * at) + Math.sin(1320 * at) + 0.6 * Math.sin(3520 * at));
  });
}

function noise(): Float32Array<ArrayBuffer> {
  const random = normal(61);
  return Float32Array.from({ length: SOUND_LENGTH }, (_, n) => 0.2 * random() * Math.exp(-(n % 8192) / 1500));
}
