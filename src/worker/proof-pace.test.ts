import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { ProofPace } from './proof-pace.ts';

describe('the pace of proofs', () => {
  const paced = (work: (pace: ProofPace<number>, started: number[], pass: (ms: number) => void) => void) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    let now = 0;
    const started: number[] = [];
    const pace = new ProofPace<number>((item) => started.push(item), {
      burst: 3,
      perSecond: 100,
      perSecondQuiet: 1000,
      quietMs: 100,
      patienceMs: 300,
      perSecondOverdue: 1000,
      now: () => now,
    });
    try {
      work(pace, started, (ms) => {
        for (let passed = 0; passed < ms; passed++) {
          now += 1;
          mock.timers.tick(1);
        }
      });
    } finally {
      pace.stop();
      mock.timers.reset();
    }
  };
  const many = Array.from({ length: 50 }, (_, index) => index);

  it('starts a few at once', () =>
    paced((pace, started) => {
      pace.noteChange();
      pace.add([1, 2]);
      assert.deepEqual(started, [1, 2]);
    }));

  it('holds back what is more while changes come, and keeps the order', () =>
    paced((pace, started, pass) => {
      pace.noteChange();
      pace.add(many);
      assert.deepEqual(started, [0, 1, 2]);
      pass(99);
      assert.ok(started.length > 3 && started.length <= 13, String(started.length));
      pace.noteChange();
      pass(99);
      assert.ok(started.length <= 23, String(started.length));
      assert.deepEqual(started, many.slice(0, started.length));
    }));

  it('lets nothing wait for longer than its patience, however fast changes come', () =>
    paced((pace, started, pass) => {
      pace.add(many);
      for (let passed = 0; passed < 250; passed += 50) {
        pace.noteChange();
        pass(50);
      }
      assert.ok(started.length < many.length, String(started.length));
      for (let passed = 0; passed < 100; passed += 50) {
        pace.noteChange();
        pass(50);
      }
      assert.deepEqual(started, many);
    }));

  it('lets many that have waited for long not push changes aside', () =>
    paced((pace, started, pass) => {
      pace.add(Array.from({ length: 1000 }, (_, index) => index));
      for (let passed = 0; passed < 500; passed += 50) {
        pace.noteChange();
        pass(50);
      }
      // A thousand a second since their patience ended, and few before.
      assert.ok(started.length > 150 && started.length < 270, String(started.length));
    }));

  it('starts everything soon after the last change', () =>
    paced((pace, started, pass) => {
      pace.noteChange();
      pace.add(many);
      pass(200);
      assert.deepEqual(started, many);
    }));

  it('starts nothing after its end', () =>
    paced((pace, started, pass) => {
      pace.noteChange();
      pace.add(many);
      pace.stop();
      pass(1000);
      assert.deepEqual(started, [0, 1, 2]);
    }));
});
