import { useEffect, useState } from 'react';
import { ago, exactTime } from './relative-time.ts';

/** "3 minutes ago", with the exact time at hand; kept up to date. */
export function Ago({ at }: { at: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((count) => count + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <time dateTime={at} title={exactTime(at)}>
      {ago(at)}
    </time>
  );
}
