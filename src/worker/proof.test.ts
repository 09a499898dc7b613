import assert from 'node:assert/strict';
import { type Mock, mock, test } from 'node:test';
import { AppError, type ErrorCode } from '../errors.ts';
import { Limiter } from './limiter.ts';
import { Proof, type ProofCircumstances, type ProofOutcome } from './proof.ts';

/** A proof under a clock of its own; `answer` is what the next round trips do. */
function setUp(t: { after(done: () => void): void }) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000_000 });
  const reports: string[] = [];
  const messages: string[] = [];
  const retries: (number | undefined)[] = [];
  let answer: ErrorCode | 'ok' = 'ok';
  let gate: Promise<void> | undefined;
  const roundTrip: Mock<() => Promise<void>> = mock.fn(async () => {
    const said = answer;
    await gate;
    if (said !== 'ok') throw new AppError(said);
  });
  const limiter = new Limiter(4);
  const proof = new Proof({
    roundTrip,
    report: (outcome: ProofOutcome, { isUntried, retryInMs }: ProofCircumstances) => {
      reports.push(`${outcome.ok ? 'connected' : outcome.error.code}${isUntried ? ', untried' : ''}`);
      retries.push(retryInMs);
      messages.push(outcome.ok ? '' : outcome.error.message);
    },
    periodic: limiter,
    requested: limiter,
    now: () => Date.now(),
    random: () => 0,
  });
  t.after(() => {
    proof.stop();
    mock.timers.reset();
  });
  const pass = async (ms: number) => {
    mock.timers.tick(ms);
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  };
  return {
    proof,
    reports,
    messages,
    retries,
    pass,
    trips: () => roundTrip.mock.callCount(),
    answers: (next: typeof answer) => {
      answer = next;
    },
    /** Holds round trips up until the answer is called. */
    hang: () => {
      let open = () => {};
      gate = new Promise((resolve) => {
        open = resolve;
      });
      return () => {
        gate = undefined;
        open();
      };
    },
  };
}

test('a live connection is proved every 60 s and only changes are reported', async (t) => {
  const { pass, trips, reports } = setUp(t);
  for (let minute = 0; minute < 5; minute++) await pass(60_000);
  assert.equal(trips(), 5);
  assert.deepEqual(reports, ['connected']);
});

test('an operation within the interval makes a proof needless', async (t) => {
  const { proof, pass, trips } = setUp(t);
  for (let half = 0; half < 10; half++) {
    await pass(30_000);
    proof.noteOperation();
  }
  assert.equal(trips(), 0);
  await pass(60_000);
  assert.equal(trips(), 1);
});

test('failures are tried again after 5, 10, 20, 40, 60, 60 s', async (t) => {
  const { proof, pass, trips, answers, reports } = setUp(t);
  answers('connection_refused');
  proof.request();
  await pass(0);
  const at: number[] = [];
  for (let second = 1; second <= 200; second++) {
    const before = trips();
    await pass(1_000);
    if (trips() > before) at.push(second);
  }
  assert.deepEqual(at, [5, 15, 35, 75, 135, 195]);
  assert.deepEqual(reports, ['connection_refused']);
  answers('ok');
  await pass(60_000);
  assert.deepEqual(reports, ['connection_refused', 'connected']);
});

test('security.md 10: after a refused log-in the account is left alone, up to 15 minutes', async (t) => {
  const { proof, pass, trips, answers, reports } = setUp(t);
  answers('authentication_failed');
  proof.request();
  await pass(0);
  const at: number[] = [];
  for (let second = 10; second <= 4_000; second += 10) {
    const before = trips();
    await pass(10_000);
    if (trips() > before) at.push(second);
  }
  assert.deepEqual(at, [30, 90, 210, 450, 930, 1830, 2730, 3630]);
  const before = trips();
  proof.request();
  await pass(0);
  assert.equal(trips(), before, 'not even when asked');
  assert.deepEqual(reports.slice(-1), ['authentication_failed, untried'], 'but the last outcome is told');
});

test('every refused log-in is reported, and when the next is due: other workers hold until then', async (t) => {
  const { proof, pass, answers, reports, retries } = setUp(t);
  answers('authentication_failed');
  proof.request();
  await pass(0);
  await pass(30_000);
  await pass(60_000);
  assert.deepEqual(reports, ['authentication_failed', 'authentication_failed', 'authentication_failed']);
  assert.deepEqual(retries, [30_000, 60_000, 120_000]);
});

test('a hold delays, and the proof follows by itself', async (t) => {
  const { proof, pass, trips } = setUp(t);
  proof.hold(90_000);
  proof.request();
  await pass(89_000);
  assert.equal(trips(), 0);
  await pass(2_000);
  assert.equal(trips(), 1);
});

test('every request is answered, news or not', async (t) => {
  const { proof, pass, reports } = setUp(t);
  for (let time = 0; time < 3; time++) {
    proof.request();
    await pass(0);
  }
  assert.deepEqual(reports, ['connected', 'connected', 'connected']);
});

test('a request during a round trip gets one of its own, for the target may be repaired by now', async (t) => {
  const { proof, pass, reports, trips, answers, hang } = setUp(t);
  answers('connection_refused');
  const release = hang();
  proof.request();
  await pass(0);
  answers('ok');
  proof.request();
  release();
  await pass(0);
  assert.equal(trips(), 2);
  assert.deepEqual(reports, ['connection_refused', 'connected']);
});

test('a request within the back-off of a refused log-in is told until when it lasts', async (t) => {
  const { proof, pass, reports, messages, trips, answers } = setUp(t);
  answers('authentication_failed');
  proof.request();
  await pass(0);
  answers('ok');
  proof.request();
  await pass(0);
  assert.equal(trips(), 1);
  assert.deepEqual(reports, ['authentication_failed', 'authentication_failed, untried']);
  assert.match(messages[1]!, /not locked.* not tried again before 1970-01-12T13:47:10\.000Z/);
});

test("a request while another worker's refusal is waited for is told so, and afterwards how it is", async (t) => {
  const { proof, pass, reports, messages, trips } = setUp(t);
  proof.hold(60_000);
  proof.request();
  await pass(0);
  assert.equal(trips(), 0);
  assert.match(
    messages[0]!,
    /^Another worker's log-in was refused; .* not tried again before 1970-01-12T13:47:40\.000Z/,
  );
  await pass(60_000);
  proof.hold(60_000);
  proof.request();
  await pass(0);
  await pass(60_000);
  assert.deepEqual(reports, [
    'authentication_failed, untried',
    'connected',
    'authentication_failed, untried',
    'connected',
  ]);
});

test('a hold is counted anew each time, and ends at once when the log-in succeeded elsewhere', async (t) => {
  const { proof, pass, reports, trips } = setUp(t);
  proof.hold(60_000);
  await pass(50_000);
  proof.hold(90_000);
  await pass(89_000);
  assert.equal(trips(), 0);
  proof.hold(0);
  proof.request();
  await pass(0);
  assert.deepEqual(reports, ['connected']);
});

test('operations tell of an unreachable target, but not every failure is one', async (t) => {
  const { proof, reports } = setUp(t);
  proof.noteOperation(new AppError('request_rejected'));
  assert.deepEqual(reports, []);
  proof.noteOperation(new AppError('connection_refused'));
  proof.noteOperation(new AppError('connection_refused'));
  proof.noteOperation();
  assert.deepEqual(reports, ['connection_refused', 'connected']);
});

test('an operation that succeeds ends a hold: the account is not locked', async (t) => {
  const { proof, pass, reports, trips } = setUp(t);
  proof.request();
  await pass(0);
  proof.hold(60_000);
  proof.noteOperation();
  proof.request();
  await pass(0);
  assert.equal(trips(), 2);
  assert.deepEqual(reports, ['connected', 'connected']);
});

test('a hold that comes during a round trip ends with its success', async (t) => {
  const { proof, pass, reports, trips, hang } = setUp(t);
  const release = hang();
  proof.request();
  await pass(0);
  proof.hold(60_000);
  release();
  await pass(0);
  proof.request();
  await pass(0);
  assert.equal(trips(), 2);
  assert.deepEqual(reports, ['connected', 'connected']);
});

test('a failure that an operation tells sets the pace anew: no round trip is left of the former one', async (t) => {
  const { proof, pass, trips, answers } = setUp(t);
  proof.request();
  await pass(0);
  answers('connection_refused');
  await pass(10_000);
  proof.noteOperation(new AppError('connection_refused'));
  const at: number[] = [];
  for (let second = 11; second <= 100; second++) {
    const before = trips();
    await pass(1000);
    if (trips() > before) at.push(second);
  }
  assert.deepEqual(at, [15, 25, 45, 85]);
});

test('stopped it proves no more', async (t) => {
  const { proof, pass, trips } = setUp(t);
  proof.stop();
  proof.request();
  await pass(600_000);
  assert.equal(trips(), 0);
});
