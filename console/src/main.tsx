import '@mantine/core/styles.css';
import '@mantine/notifications/styles.css';
import '@mantine/spotlight/styles.css';
import './console.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { cspNonce } from './api/csp-nonce.ts';
import { App } from './app.tsx';

// What locks the page's scrolling behind a dialog adds its style sheet under this name.
(globalThis as { __webpack_nonce__?: string }).__webpack_nonce__ = cspNonce;

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
