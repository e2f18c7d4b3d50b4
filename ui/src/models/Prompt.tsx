import { Plus, Sparkles, Square, X } from "lucide-react";
import { useId } from "react";
import type { components } from "@/api/schema";
import { Button, IconButton, tip } from "@/kit";

/** Any request that has a prompt: steering's, the playground's. */
interface Request {
  prompt?: string | null;
  messages?: Message[] | null;
}
type Message = components["schemas"]["ChatMessage"];

export interface PromptValue {
  chat: boolean;
  text: string;
  messages: Message[];
}

/** Nothing written yet, or what a request said. */
export function startPrompt(request?: Request): PromptValue {
  return {
    chat: Boolean(request?.messages),
    text: request?.prompt ?? "",
    messages: request?.messages ?? [{ role: "user", content: "" }],
  };
}

/** What is still to be written before the model can go on; null when nothing is. */
export function missingIn(prompt: PromptValue): string | null {
  if (prompt.chat)
    return prompt.messages.every((one) => one.content.trim() === "") ? "Write a message first" : null;
  return prompt.text.trim() === "" ? "Write a prompt first" : null;
}

/** The prompt as a request says it. */
export function promptFields(prompt: PromptValue): Request {
  return prompt.chat ? { messages: prompt.messages } : { prompt: prompt.text };
}

/** What the model is to continue: a text, or a chat in the model's own template. */
export function Prompt({
  chats,
  action = "Generate",
  value,
  onChange,
  missing,
  ready,
  busy,
  onGenerate,
  onStop,
}: {
  /** Whether the model has a chat template. */
  chats: boolean;
  /** What the button says. */
  action?: string;
  value: PromptValue;
  onChange: (value: PromptValue) => void;
  /** Why it cannot be sent yet. */
  missing: string | null;
  ready: boolean;
  busy: boolean;
  onGenerate: () => void;
  onStop: (() => void) | null;
}) {
  const id = useId();
  const kind = (chat: boolean, label: string) => (
    <button
      type="button"
      aria-pressed={value.chat === chat}
      disabled={chat && !chats}
      {...tip(chat && !chats ? "This model has no chat template" : null)}
      onClick={() => onChange({ ...value, chat })}
      className={`h-6 rounded-[5px] px-3 disabled:opacity-50 ${value.chat === chat ? "bg-raised text-ink shadow-sm" : "text-muted"}`}
    >
      {label}
    </button>
  );
  return (
    <section aria-label="Prompt" className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center gap-3">
        <div className="flex gap-1 rounded-[6px] bg-sunken p-0.5">
          {kind(false, "Text")}
          {kind(true, "Chat")}
        </div>
        <span className="ml-auto text-xs text-muted">{missing}</span>
        {onStop && (
          <Button icon={<Square size={13} />} onClick={onStop}>
            Stop
          </Button>
        )}
        <Button
          look="primary"
          icon={<Sparkles size={14} />}
          busy={busy}
          disabled={!ready}
          hint="Ctrl Enter"
          onClick={onGenerate}
        >
          {action}
        </Button>
      </div>
      {value.chat ? (
        <Chat id={id} messages={value.messages} onChange={(messages) => onChange({ ...value, messages })} />
      ) : (
        <textarea
          aria-label="Text to continue"
          className="field"
          rows={3}
          value={value.text}
          placeholder="Text to continue, for example: My fellow citizens, the most important thing for our country is"
          onChange={(event) => onChange({ ...value, text: event.target.value })}
        />
      )}
    </section>
  );
}

/** The turns of a chat, each with who says it. */
export function Chat({
  id,
  messages,
  onChange,
}: {
  id: string;
  messages: Message[];
  onChange: (messages: Message[]) => void;
}) {
  const change = (place: number, next: Partial<Message>) =>
    onChange(messages.map((one, index) => (index === place ? { ...one, ...next } : one)));
  return (
    <div className="flex flex-col gap-2">
      {messages.map((message, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a turn is its place.
        <div key={place} className="flex items-start gap-2">
          <select
            aria-label={`Who says turn ${place + 1}`}
            className="field w-auto shrink-0"
            value={message.role}
            onChange={(event) => change(place, { role: event.target.value as Message["role"] })}
          >
            {["system", "user", "assistant"].map((role) => (
              <option key={role}>{role}</option>
            ))}
          </select>
          <textarea
            id={`${id}-${place}`}
            aria-label={`Turn ${place + 1}`}
            className="field"
            rows={Math.min(
              6,
              1 + Math.ceil(message.content.length / 90) + (place === messages.length - 1 ? 1 : 0),
            )}
            value={message.content}
            placeholder={message.role === "user" ? "Ask something" : ""}
            onChange={(event) => change(place, { content: event.target.value })}
          />
          {messages.length > 1 && (
            <IconButton
              label={`Remove turn ${place + 1}`}
              onClick={() => onChange(messages.filter((_, index) => index !== place))}
            >
              <X size={14} />
            </IconButton>
          )}
        </div>
      ))}
      <Button
        look="quiet"
        icon={<Plus size={14} />}
        className="self-start"
        onClick={() =>
          onChange([
            ...messages,
            { role: messages.at(-1)?.role === "user" ? "assistant" : "user", content: "" },
          ])
        }
      >
        Turn
      </Button>
    </div>
  );
}
