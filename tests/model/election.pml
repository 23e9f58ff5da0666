// SPDX-License-Identifier: Apache-2.0
// Who may serve: two nodes and a witness, as a model that spin checks exhaustively. README.md says
// which step is which function of the code, what is left out and why that is sound.
//
// What must stay true, in every state that a bounded number of faults can lead to:
//   S1  a node that may acknowledge alone is the only one named by the register, with the
//       incarnation it has now, however old its own view is (promise 2);
//   S2  a write begun after a newer epoch has acknowledged one is not acknowledged in an older
//       epoch: a node that wakes up with its old role answers nothing new (promise 2);
//   S3  whoever is named with its present incarnation, and whoever begins to serve, holds every
//       acknowledged write that is not excused by power cuts of all who had it (promise 1);
//   P1  every run ends, and when it has ended whoever may serve does, with the other in sync.
// The graph of states has no cycle (checked too), so P1 needs no assumption about fairness.

#ifndef FAULTS
#define FAULTS 2  // of all kinds together, at any moment
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define EPOCHS 10
#define QUEUE 4
#define ALL ((1 << WRITES) - 1)

// Phases and attach steps of MirrorMachine.
#define WAIT 0
#define CLAIMING 1
#define STARTING 2
#define ALONE 3
#define PRIMARY 4
#define HELD 5
#define PREPARING 6
#define TARGET 7
#define SYNCING 8
#define READY 9
#define SECONDARY 10
#define DOWN 11
#define NONE 0
#define OFFERED 1
#define FILLING 2
#define SHARING 3
#define COMPLETING 4
#define JOINING 5
#define RECORDING 6
#define WITHDRAWING 7

// What a call of the arbiter has come to.
#define IDLE 0
#define READ 1  // carried out, the answer is on its way
#define SWAP 2  // on its way to the witness, again and again
#define WON 3   // carried out or refused, the answer is on its way
#define LOST 4
// Purposes of a proposal; none is pending: 0.
#define CLAIM 1
#define ISOLATE 2
#define JOIN 3
// What follows when the superblock is stored; nothing is being stored: 0.
#define THEN_NOTHING 1
#define THEN_SERVE 2
#define THEN_WITHDRAW 3
#define THEN_COMPLETE 4
#define THEN_FOLLOW 5
#define THEN_READY 6
#define THEN_RECORDED 7

mtype = {FOLLOW, FOLLOWING, DECLINE, COMPLETE, ADD_ME, JOINED, OP, ACK};

// A value of the register. Epochs grow by one, so an epoch names one value for ever.
typedef Value {
    byte serving;
    byte inc[2];   // in-sync set: 0 is not in it
    byte prev[2];  // the set before
};
Value reg[EPOCHS];
byte cur = 1;  // epoch recorded

typedef Proposal {
    byte purpose;
    byte expected;
    byte inc[2];
    byte prev[2];
    bit recorded;  // what its token is for
};

typedef Node {
    byte phase;
    byte attach;
    bit was_held;
    byte known;  // epoch
    bit fresh;
    // The superblock in memory and on disk.
    byte epoch, epoch_disk;
    byte inc, inc_disk;
    bit whole, whole_disk;
    byte storing;
    Proposal pending;
    byte call, answer;
    // The session, and what the peer's newest hello in it has said.
    bit session, heard;
    bit says_wait, says_serving, says_begun;
    byte says_known, says_inc;
    bit offered_in_vain, declined;
    // Writes, as sets.
    byte content, durable;
    byte in_flight;  // sent to the peer, not acknowledged by it
    byte waiting;    // held requests
};
Node nd[2];
Proposal late[2];  // of a process that is gone, still on its way

chan q[2] = [QUEUE] of {mtype, byte};  // by sender; in order

byte born, acked, synced, excused, stale;
byte acked_epoch;  // newest in which something was acknowledged
byte faults = FAULTS;
#ifdef BROKEN_OLD_ROLE
bit served[2];
#endif
byte gone = 2;  // a node that never comes back, once all is calm
bit ended;

#define O(n) (1 - (n))
#define IS_UP(n) (nd[n].phase != DOWN)
#ifdef BROKEN_JOINS_TOO_EARLY
#define ATTACHING JOINING
#else
#define ATTACHING SHARING
#endif
#define ACKS_ALONE(n) (nd[n].phase == ALONE && nd[n].attach < ATTACHING)
#define ACKS_WITH_PEER(n) (nd[n].phase == PRIMARY || \
    (nd[n].phase == ALONE && nd[n].attach >= ATTACHING && nd[n].attach <= RECORDING))
#define IS_SERVING(n) (nd[n].phase == ALONE || nd[n].phase == PRIMARY || nd[n].phase == HELD || \
    (nd[n].phase == STARTING && nd[n].was_held))
#define IS_FOLLOWING(n) (nd[n].phase >= PREPARING && nd[n].phase <= SECONDARY)
#define IS_OLDER(n) (nd[n].known < nd[n].epoch)
#define NAMED(n) (reg[nd[n].known].inc[n] != 0)
#define IS_MEMBER(n) (nd[n].inc != 0 && reg[nd[n].known].inc[n] == nd[n].inc)
#define IS_ONLY(n, e) (reg[e].inc[n] != 0 && reg[e].inc[O(n)] == 0)
// The incarnation a node has, or had when it died.
#define PRESENT_INC(n) (IS_UP(n) -> nd[n].inc : nd[n].inc_disk)
// Whose loss would matter: the set before, while its only successor has not begun.
#define COUNTED_INC(n) (reg[cur].inc[n] != 0 -> reg[cur].inc[n] : \
    (nd[O(n)].epoch_disk < cur -> reg[cur].prev[n] : 0))
#define COUNTS(n) (COUNTED_INC(n) != 0 && COUNTED_INC(n) == PRESENT_INC(n))

// --- Judging -------------------------------------------------------------------------------------

inline check_named(n) {
    if
    :: reg[cur].inc[n] != 0 && reg[cur].inc[n] == PRESENT_INC(n) ->
        assert((acked & ~excused & ~nd[n].content) == 0)  // S3
    :: else
    fi
}
inline check_alone(n) {
    if
    :: ACKS_ALONE(n) ->
        assert(IS_ONLY(n, cur) && reg[cur].inc[n] == nd[n].inc);  // S1
        assert((acked & ~excused & ~nd[n].content) == 0)           // S3
    :: else
    fi
}
inline check() { check_named(0); check_named(1); check_alone(0); check_alone(1) }

inline acknowledge(n, ops) {
    assert(((ops) & stale) == 0 && ((ops) & ~nd[n].content) == 0);  // S2
    if
    :: ((ops) & ~acked) != 0 && acked_epoch < nd[n].epoch -> acked_epoch = nd[n].epoch
    :: else
    fi;
    acked = acked | (ops);
    check()
}

// --- Session -------------------------------------------------------------------------------------

inline purge(side) {
    do
    :: len(q[side]) > 0 -> q[side] ? _, _
    :: else -> break
    od
}
// What is sent to a node that has left the session is lost.
inline send(n, kind, value) {
    if
    :: nd[n].session && nd[O(n)].session -> assert(nfull(q[n])); q[n] ! kind, value
    :: else
    fi
}
inline forget_hello(n) {
    nd[n].heard = 0;
    nd[n].says_wait = 0;
    nd[n].says_serving = 0;
    nd[n].says_begun = 0;
    nd[n].says_known = 0;
    nd[n].says_inc = 0;
    nd[n].offered_in_vain = 0
}
// What it has sent still arrives; what was on its way to it is dropped.
inline close_session(n) {
    nd[n].session = 0;
    nd[n].declined = 0;
    forget_hello(n);
    purge(O(n))
}
#define SAYS_WAIT(n) (nd[n].phase == WAIT || nd[n].phase == CLAIMING || \
    (nd[n].phase == STARTING && !nd[n].was_held))
#define SAYS_BEGUN(n) (nd[n].epoch >= nd[n].known)
inline enter(n, new_phase) { nd[n].phase = new_phase }
inline learn(n, value) {
    nd[n].known = value;
    nd[n].fresh = 1
}

// --- Register ------------------------------------------------------------------------------------

// {this node}, and the peer if it has an incarnation to be added with.
inline propose(n, why, peer_inc) {
    assert(nd[n].pending.purpose == 0);
    nd[n].pending.purpose = why;
    nd[n].pending.expected = nd[n].known;
    nd[n].pending.inc[n] = nd[n].inc;
    nd[n].pending.inc[O(n)] = peer_inc;
    if
    :: (IS_ONLY(0, nd[n].known) || IS_ONLY(1, nd[n].known)) && nd[n].epoch < nd[n].known ->
        nd[n].pending.prev[0] = reg[nd[n].known].prev[0];
        nd[n].pending.prev[1] = reg[nd[n].known].prev[1]
    :: else ->
        nd[n].pending.prev[0] = reg[nd[n].known].inc[0];
        nd[n].pending.prev[1] = reg[nd[n].known].inc[1]
    fi;
    if
    :: nd[n].call == IDLE -> nd[n].call = SWAP
    :: else -> assert(nd[n].call == READ)  // sent when the call under way has ended
    fi
}
inline forget_proposal(one) {
    one.purpose = 0;
    one.expected = 0;
    one.inc[0] = 0;
    one.inc[1] = 0;
    one.prev[0] = 0;
    one.prev[1] = 0;
    one.recorded = 0
}
// Both have lost what they held in memory: what was not synced may be missing on either.
inline excuse_both() {
    if
    :: reg[cur].inc[0] != 0 && reg[cur].inc[1] != 0 && !COUNTS(0) && !COUNTS(1) ->
        excused = excused | (born & ~synced & ~(nd[0].content & nd[1].content))
    :: else
    fi
}
inline record(one, n) {
    assert(cur + 1 < EPOCHS);
    cur++;
    reg[cur].serving = n;
    reg[cur].inc[0] = one.inc[0];
    reg[cur].inc[1] = one.inc[1];
    reg[cur].prev[0] = one.prev[0];
    reg[cur].prev[1] = one.prev[1];
    one.recorded = 1;
    excuse_both();
    check()
}
#ifdef BROKEN_SWAP_WITHOUT_COMPARING
#define FOLLOWS(p) 1
#else
#define FOLLOWS(p) (p.expected == cur)
#endif

// --- Names that nobody can tell from others ------------------------------------------------------

// Only the order of epochs counts and only the sameness of incarnations, so what nobody refers to
// any more is used again: states that differ in numbers alone are one state.
hidden byte id, low, at, node_at;

#define IS_USED(n, id) (nd[n].inc == id || nd[n].inc_disk == id || nd[O(n)].says_inc == id || \
    nd[0].pending.inc[n] == id || nd[1].pending.inc[n] == id || nd[0].pending.prev[n] == id || \
    nd[1].pending.prev[n] == id || late[0].inc[n] == id || late[1].inc[n] == id || \
    late[0].prev[n] == id || late[1].prev[n] == id || q[n] ?? [ADD_ME, eval(id)])
inline draw(n) {
    id = 0;
    do
    :: id++;
        at = 1;
        do
        :: at <= cur && reg[at].inc[n] != id && reg[at].prev[n] != id -> at++
        :: else -> break
        od;
        if
        :: at > cur && !IS_USED(n, id) -> break
        :: else
        fi
    od;
    nd[n].inc = id
}
#define LOWER(e) if :: (e) != 0 && (e) < low -> low = e :: else fi
#define SHIFT(e) if :: (e) > low -> e = e - low :: else -> e = 0 fi
#define KNOWS(n, e) (nd[n].known == e || nd[n].answer == e || \
    (nd[n].pending.purpose != 0 && nd[n].pending.expected + 1 == e))
#define HAS_EPOCHS(n) (q[n] ?? [FOLLOW, _] || q[n] ?? [JOINED, _])
inline forget_value(which) {
    reg[which].serving = 0;
    reg[which].inc[0] = 0;
    reg[which].inc[1] = 0;
    reg[which].prev[0] = 0;
    reg[which].prev[1] = 0
}
inline tidy() {
    if
    :: HAS_EPOCHS(0) || HAS_EPOCHS(1)
    :: else ->
        low = cur;
        for (node_at : 0 .. 1) {
            LOWER(nd[node_at].known);
            LOWER(nd[node_at].epoch);
            LOWER(nd[node_at].epoch_disk);
            LOWER(nd[node_at].pending.expected);
            LOWER(nd[node_at].answer);
            LOWER(nd[node_at].says_known);
            LOWER(late[node_at].expected)
        }
        at = 1;
        do
        :: at < cur ->
            if
            :: !KNOWS(0, at) && !KNOWS(1, at) -> forget_value(at)
            :: else
            fi;
            at++
        :: else -> break
        od;
        if
        :: low > 1 ->
            low--;
            for (node_at : 0 .. 1) {
                SHIFT(nd[node_at].known);
                SHIFT(nd[node_at].epoch);
                SHIFT(nd[node_at].epoch_disk);
                SHIFT(nd[node_at].pending.expected);
                SHIFT(nd[node_at].answer);
                SHIFT(nd[node_at].says_known);
                SHIFT(late[node_at].expected)
            }
            SHIFT(acked_epoch);
            at = 1;
            do
            :: at + low <= cur ->
                reg[at].serving = reg[at + low].serving;
                reg[at].inc[0] = reg[at + low].inc[0];
                reg[at].inc[1] = reg[at + low].inc[1];
                reg[at].prev[0] = reg[at + low].prev[0];
                reg[at].prev[1] = reg[at + low].prev[1];
                at++
            :: at + low > cur && at <= cur -> forget_value(at); at++
            :: else -> break
            od;
            cur = cur - low
        :: else
        fi
    fi
}

inline store(n, then) { nd[n].storing = then }

// --- Serving -------------------------------------------------------------------------------------

inline end_service(n) {
    nd[n].in_flight = 0;
    nd[n].waiting = 0;
    nd[n].attach = NONE;
    nd[n].was_held = 0
}
inline end_serving(n) {
    end_service(n);
    enter(n, WAIT);
    close_session(n);
    nd[n].fresh = 0
}
inline begin_alone(n) {
    nd[n].attach = NONE;
    enter(n, ALONE);
    nd[n].was_held = 0;
    nd[n].says_begun = 0;
    nd[n].says_inc = 0;
    check_alone(n);
    nd[n].content = nd[n].content | nd[n].waiting;
    acknowledge(n, nd[n].in_flight | nd[n].waiting);
    nd[n].in_flight = 0;
    nd[n].waiting = 0
}
inline start_serving(n, held) {
    nd[n].was_held = held;
    nd[n].epoch = nd[n].known;
    nd[n].whole = 1;
    enter(n, STARTING);
    store(n, THEN_SERVE)
}
inline isolate(n) {
    if
    :: nd[n].pending.purpose != 0
    :: nd[n].pending.purpose == 0 && IS_OLDER(n) -> end_serving(n)
    :: else -> propose(n, ISOLATE, 0)
    fi
}
inline hold(n) {
    nd[n].attach = NONE;
#ifdef BROKEN_ALONE_BEFORE_RECORDED
    begin_alone(n)
#else
    enter(n, HELD);
    isolate(n)
#endif
}
inline lose_target(n) {
    if
    :: nd[n].attach <= FILLING -> nd[n].attach = NONE; nd[n].in_flight = 0
    :: nd[n].attach == SHARING || nd[n].attach == COMPLETING ->
        nd[n].attach = WITHDRAWING;
        store(n, THEN_WITHDRAW)
    :: nd[n].attach == JOINING && nd[n].call == READ ->  // not sent yet
        forget_proposal(nd[n].pending);
        nd[n].attach = WITHDRAWING;
        store(n, THEN_WITHDRAW)
    :: (nd[n].attach == JOINING && nd[n].call != READ) || nd[n].attach == RECORDING -> hold(n)
    :: else
    fi
}
inline stop_following(n) {
    enter(n, WAIT);
#ifndef BROKEN_KEEPS_SESSION
    close_session(n);
#endif
    nd[n].fresh = 0
}
// The session has been forgotten already.
inline session_is_lost(n) {
    if
    :: nd[n].phase == ALONE -> lose_target(n)
    :: nd[n].phase == PRIMARY -> hold(n)
    :: IS_FOLLOWING(n) -> stop_following(n)
    :: else
    fi
}
// Not answered before: what is in flight or waits is answered when the role allows it.
inline carry_out(n, op) {
    if
    :: ACKS_ALONE(n) ->
        nd[n].content = nd[n].content | (op);
        if
        :: nd[n].attach >= FILLING ->
            nd[n].in_flight = nd[n].in_flight | (op);
            send(n, OP, op)
        :: else
        fi;
        acknowledge(n, op)
    :: ACKS_WITH_PEER(n) ->
        nd[n].content = nd[n].content | (op);
        nd[n].in_flight = nd[n].in_flight | (op);
        send(n, OP, op);
#ifdef BROKEN_ACKNOWLEDGES_UNHEARD
        acknowledge(n, op)
#endif
    :: else -> nd[n].waiting = nd[n].waiting | (op)
    fi
}

inline swap_won(n) {
    learn(n, nd[n].pending.expected + 1);
    if
    :: nd[n].phase == CLAIMING -> forget_proposal(nd[n].pending); start_serving(n, 0)
    :: nd[n].phase == HELD && nd[n].pending.purpose == JOIN ->
        forget_proposal(nd[n].pending);
        isolate(n)
    :: nd[n].phase == HELD && nd[n].pending.purpose != JOIN ->
        forget_proposal(nd[n].pending);
        start_serving(n, 1)
    :: nd[n].phase == ALONE ->
        assert(nd[n].attach == JOINING);
        forget_proposal(nd[n].pending);
        nd[n].attach = RECORDING;
        nd[n].epoch = nd[n].known;
        store(n, THEN_RECORDED)
    :: else -> forget_proposal(nd[n].pending)
    fi
}
inline swap_lost(n) {
    forget_proposal(nd[n].pending);
    learn(n, nd[n].answer);
    if
    :: nd[n].phase == CLAIMING -> enter(n, WAIT)
    :: (nd[n].phase == HELD || nd[n].phase == ALONE) && (IS_OLDER(n) || !IS_MEMBER(n)) ->
        end_serving(n)
    :: nd[n].phase == HELD && !IS_OLDER(n) && IS_MEMBER(n) -> isolate(n)
    :: nd[n].phase == ALONE && !IS_OLDER(n) && IS_MEMBER(n) -> close_session(n); hold(n)
    :: else
    fi
}

inline stored(n) {
    nd[n].epoch_disk = nd[n].epoch;
    nd[n].inc_disk = nd[n].inc;
    nd[n].whole_disk = nd[n].whole;
    if
    :: nd[n].storing == THEN_SERVE && nd[n].phase == STARTING ->
        nd[n].storing = 0;
        begin_alone(n)
    :: nd[n].storing == THEN_WITHDRAW && nd[n].phase == ALONE && nd[n].attach == WITHDRAWING ->
        nd[n].storing = 0;
        nd[n].attach = NONE;
        nd[n].content = nd[n].content | nd[n].waiting;
        acknowledge(n, nd[n].in_flight | nd[n].waiting);
        nd[n].in_flight = 0;
        nd[n].waiting = 0
    :: nd[n].storing == THEN_COMPLETE && nd[n].phase == ALONE && nd[n].attach == SHARING ->
        nd[n].storing = 0;
        nd[n].attach = COMPLETING;
        send(n, COMPLETE, 0)
    :: nd[n].storing == THEN_FOLLOW && nd[n].phase == PREPARING ->
        nd[n].storing = 0;
        // A copy that is being filled is neither the old one nor the new one.
        nd[n].content = 0;
        nd[n].durable = 0;
        enter(n, TARGET);
        send(n, FOLLOWING, 0)
    :: nd[n].storing == THEN_READY && nd[n].phase == SYNCING ->
        nd[n].storing = 0;
        enter(n, READY);
        send(n, ADD_ME, nd[n].inc)
    :: nd[n].storing == THEN_RECORDED && nd[n].phase == ALONE && nd[n].attach == RECORDING ->
        nd[n].storing = 0;
        nd[n].attach = NONE;
        enter(n, PRIMARY);
        send(n, JOINED, nd[n].known)
    :: else -> nd[n].storing = 0
    fi
}

// --- Frames --------------------------------------------------------------------------------------

inline follow(n, value) {
    if
    :: nd[n].phase == WAIT && nd[n].pending.purpose == 0 && (value) >= nd[n].known &&
       (value) >= nd[n].epoch && reg[value].serving == O(n) && reg[value].inc[n] == 0 ->
        nd[n].known = value;
        forget_hello(n);
        enter(n, PREPARING);
        draw(n);
        nd[n].whole = 0;
        nd[n].epoch = value;
        store(n, THEN_FOLLOW)
    :: nd[n].phase != WAIT || nd[n].pending.purpose != 0 ->
        nd[n].declined = 1;
        send(n, DECLINE, 0)
    :: else -> send(n, DECLINE, 0)
    fi
}

inline receive(n) {
    q[O(n)] ? type, x;
    if
    :: type == FOLLOW -> follow(n, x)
    :: type == FOLLOWING ->
        if
        :: nd[n].phase == ALONE && nd[n].attach == OFFERED ->
            nd[n].attach = FILLING;
            forget_hello(n);
            // The resync as a whole: what is written from here on is sent behind it.
            if
            :: nd[O(n)].session -> nd[O(n)].content = nd[n].content
            :: else
            fi
        :: else
        fi
    :: type == DECLINE ->
        if
        :: nd[n].phase == ALONE && nd[n].attach == OFFERED ->
            nd[n].attach = NONE;
            nd[n].offered_in_vain = 1
        :: else
        fi
    :: type == COMPLETE ->
        if
        :: nd[n].phase == TARGET -> enter(n, SYNCING)
        :: else
        fi
    :: type == ADD_ME ->
        if
        :: nd[n].phase == ALONE && nd[n].attach == COMPLETING ->
            nd[n].attach = JOINING;
            propose(n, JOIN, x)
        :: else
        fi
    :: type == JOINED ->
        if
        :: nd[n].phase == READY && reg[x].inc[n] == nd[n].inc ->
            learn(n, x);
            nd[n].epoch = x;
            store(n, THEN_NOTHING);
            enter(n, SECONDARY)
        :: else
        fi
    :: type == OP ->
        if
#ifdef BROKEN_KEEPS_SESSION
        :: IS_UP(n) ->
#else
        :: nd[n].phase >= TARGET && nd[n].phase <= SECONDARY ->
#endif
            nd[n].content = nd[n].content | x;
            send(n, ACK, x)
        :: else
        fi
    :: type == ACK ->
        if
        :: nd[n].in_flight & x ->
            nd[n].in_flight = nd[n].in_flight & ~x;
            if
            :: ACKS_WITH_PEER(n) -> acknowledge(n, x)
            :: else
            fi
        :: else
        fi
    fi;
    type = 0;
    x = 0
}
// Hellos: at any moment a node may get to know what the other one is at.
#define USES_HELLO(n) (nd[n].phase <= STARTING || (nd[n].phase == ALONE && nd[n].attach == NONE))
#define HELLO_IS_NEW(n) (!nd[n].heard || nd[n].says_wait != SAYS_WAIT(O(n)) || \
    nd[n].says_serving != IS_SERVING(O(n)) || nd[n].says_known != nd[O(n)].known || \
    (nd[n].phase != ALONE && \
        (nd[n].says_begun != SAYS_BEGUN(O(n)) || nd[n].says_inc != nd[O(n)].inc)))
inline hear(n) {
    nd[n].heard = 1;
    nd[n].says_wait = SAYS_WAIT(O(n));
    nd[n].says_serving = IS_SERVING(O(n));
    nd[n].says_known = nd[O(n)].known;
    if
    :: nd[n].phase != ALONE ->
        nd[n].says_begun = SAYS_BEGUN(O(n));
        nd[n].says_inc = nd[O(n)].inc
    :: else
    fi;
    nd[n].offered_in_vain = 0;
    if
    :: nd[n].phase == WAIT && nd[n].says_known > nd[n].known -> nd[n].fresh = 0
    :: else
    fi
}

// --- Who may claim -------------------------------------------------------------------------------

#define HAS_HELLO(n) (nd[n].session && nd[n].heard)
#define SET(n) reg[nd[n].known]
#ifdef BROKEN_GOES_ON_UNBEGUN
#define NOBODY_HOLDS_MORE(n) 1
#else
#define NOBODY_HOLDS_MORE(n) (nd[n].epoch >= nd[n].known || SET(n).prev[O(n)] == 0 || \
    (HAS_HELLO(n) && nd[n].says_inc != SET(n).prev[O(n)]))
#endif
#define SOLE_MAY(n) (IS_ONLY(n, nd[n].known) && \
    (IS_MEMBER(n) || (nd[n].whole && NOBODY_HOLDS_MORE(n))))
#ifdef BROKEN_NEVER_YIELDS
#define PEER_MAY_SERVE(n) (SET(n).serving != n)
#else
#define PEER_MAY_SERVE(n) (HAS_HELLO(n) && SET(n).serving != n && nd[n].says_serving && \
    nd[n].says_inc == SET(n).inc[O(n)])
#endif
#define MEMBER_MAY(n) (IS_MEMBER(n) && SET(n).inc[O(n)] != 0 && !PEER_MAY_SERVE(n))
#define REBOOTED_MAY(n) (NAMED(n) && !IS_MEMBER(n) && SET(n).inc[O(n)] != 0 && HAS_HELLO(n) && \
    nd[n].says_inc != SET(n).inc[O(n)] && nd[n].whole)
#if defined(BROKEN_TAKEOVER_FROM_OUTSIDE)
#define OUTSIDE_MAY(n) (!NAMED(n))
#elif defined(BROKEN_OLD_HELLO)
#define OUTSIDE_MAY(n) (!NAMED(n) && SET(n).prev[n] != 0 && SET(n).prev[n] == nd[n].inc && \
    HAS_HELLO(n) && !nd[n].says_serving)
#else
#define OUTSIDE_MAY(n) (!NAMED(n) && SET(n).inc[O(n)] != 0 && SET(n).prev[n] != 0 && \
    SET(n).prev[n] == nd[n].inc && HAS_HELLO(n) && nd[n].says_known == nd[n].known && \
    !nd[n].says_begun && !nd[n].says_serving && \
    nd[n].says_inc != SET(n).inc[O(n)])
#endif
#define MAY_CLAIM(n) (nd[n].phase == WAIT && nd[n].pending.purpose == 0 && nd[n].call == IDLE && \
    nd[n].fresh && !IS_OLDER(n) && \
    (SOLE_MAY(n) || MEMBER_MAY(n) || REBOOTED_MAY(n) || OUTSIDE_MAY(n)))

#define MAY_READ(n) (nd[n].call == IDLE && nd[n].pending.purpose == 0 && \
    ((nd[n].phase == WAIT && (!nd[n].fresh || nd[n].known < cur)) || \
     (nd[n].phase == ALONE && nd[n].known < cur)))
inline was_read(n) {
    if
    :: nd[n].pending.purpose != 0 -> nd[n].call = SWAP
    :: nd[n].pending.purpose == 0 && nd[n].phase == WAIT -> learn(n, nd[n].answer)
    :: nd[n].pending.purpose == 0 && nd[n].phase == ALONE && nd[n].answer > nd[n].known ->
        learn(n, nd[n].answer);
        end_serving(n)
    :: else
    fi;
    nd[n].answer = 0
}

inline leave_late(n) {
    late[n].purpose = nd[n].pending.purpose;
    late[n].expected = nd[n].pending.expected;
    late[n].inc[0] = nd[n].pending.inc[0];
    late[n].inc[1] = nd[n].pending.inc[1];
    late[n].prev[0] = nd[n].pending.prev[0];
    late[n].prev[1] = nd[n].pending.prev[1]
}
inline may_leave_late(n) {
    if
    :: nd[n].call == SWAP && !nd[n].pending.recorded && late[n].purpose == 0 -> leave_late(n)
    :: skip
    fi
}
// The same proposal, for as long as its outcome is unknown.
inline ask_again(n) {
    nd[n].answer = 0;
#ifdef BROKEN_UNKNOWN_IS_LOST
    if
    :: nd[n].pending.purpose == JOIN && nd[n].phase == ALONE ->
        if
        :: !nd[n].pending.recorded -> leave_late(n)
        :: else
        fi;
        forget_proposal(nd[n].pending);
        nd[n].call = IDLE;
        nd[n].attach = COMPLETING;
        close_session(n);
        session_is_lost(n)
    :: else -> nd[n].call = SWAP
    fi
#else
    nd[n].call = SWAP
#endif
}

proctype node(byte n) {
    mtype type;
    byte x;
end:
    do
    // The register.
    :: d_step {
        MAY_READ(n) ->
        nd[n].answer = cur;
        was_read(n);
        tidy()
    }
    :: d_step {  // the answer comes late, whatever has changed until then
        MAY_READ(n) && faults > 0 ->
        faults--;
        nd[n].call = READ;
        nd[n].answer = cur
    }
    :: d_step {
        nd[n].call == READ ->
        nd[n].call = IDLE;
        was_read(n);
        tidy()
    }
    :: d_step {
        MAY_CLAIM(n) ->
        if
        :: nd[n].inc == 0 -> draw(n)
        :: else
        fi;
        enter(n, CLAIMING);
        propose(n, CLAIM, 0)
    }
    :: d_step {
        nd[n].call == WON ->
        nd[n].call = IDLE;
        nd[n].answer = 0;
        swap_won(n);
        tidy()
    }
    :: d_step {
        nd[n].call == LOST ->
        nd[n].call = IDLE;
        swap_lost(n);
        nd[n].answer = 0;
        tidy()
    }
    :: d_step {  // the witness has been out of reach for too long
        nd[n].phase == HELD && nd[n].call != IDLE && faults > 0 ->
        faults--;
        end_serving(n)
    }
    :: d_step { nd[n].storing != 0 -> stored(n); tidy() }
    // The peer.
    :: d_step { IS_UP(n) && len(q[O(n)]) > 0 -> receive(n) }
    :: d_step {  // the other end is closed, or silent because it is in this session no more
        nd[n].session && !nd[O(n)].session ->
        close_session(n);
        session_is_lost(n)
    }
    :: d_step {  // silent for `detect`: a wire is cut, the other node or this one was paused
        nd[n].session && faults > 0 ->
        faults--;
#ifdef BROKEN_KEEPS_SESSION
        if
        :: nd[n].phase != SECONDARY -> close_session(n)
        :: else
        fi;
#else
        close_session(n);
#endif
        session_is_lost(n)
    }
    :: d_step {  // a hello
        nd[n].session && nd[O(n)].session && USES_HELLO(n) &&
        (HELLO_IS_NEW(n) ||
         (nd[O(n)].declined && SAYS_WAIT(O(n)) && nd[O(n)].pending.purpose == 0)) ->
        nd[O(n)].declined = 0;
        hear(n)
    }
    :: d_step {
        nd[n].phase == ALONE && nd[n].attach == NONE && nd[n].pending.purpose == 0 &&
        HAS_HELLO(n) && nd[n].says_wait && !nd[n].says_serving && nd[n].says_known <= nd[n].known &&
        !nd[n].offered_in_vain ->
        nd[n].attach = OFFERED;
        send(n, FOLLOW, nd[n].known)
    }
    :: d_step {
        nd[n].phase == ALONE && nd[n].attach == FILLING && nd[n].in_flight == 0 ->
            nd[n].attach = SHARING;
        store(n, THEN_COMPLETE)
    }
    :: d_step {
        nd[n].phase == SYNCING && nd[n].storing == 0 && !nd[n].whole ->
#ifndef BROKEN_JOINS_UNSYNCED
        nd[n].durable = nd[n].content;
#endif
        nd[n].whole = 1;
        store(n, THEN_READY)
    }
    // A client: it syncs, it writes.
    :: d_step {
        (acked & ~synced & nd[n].content) != 0 && ACKS_ALONE(n) ->
        nd[n].durable = nd[n].durable | nd[n].content;
        synced = synced | (acked & nd[n].content)
    }
    :: d_step {
        (acked & ~synced & nd[n].content & nd[O(n)].content) != 0 && ACKS_WITH_PEER(n) &&
        nd[O(n)].session && nd[O(n)].phase >= TARGET && nd[O(n)].phase <= SECONDARY ->
        nd[0].durable = nd[0].durable | nd[0].content;
        nd[1].durable = nd[1].durable | nd[1].content;
        synced = synced | (acked & nd[0].content & nd[1].content)
    }
    :: d_step {
        IS_SERVING(n) && born != ALL ->
        x = (born + 1);
        born = born | x;
        if
        :: acked_epoch > nd[n].epoch -> stale = stale | x
        :: else
        fi;
        carry_out(n, x);
        x = 0
    }
    od
}

proctype witness() {
    byte n;
end:
    do
    :: atomic {
        nd[0].call == SWAP || nd[1].call == SWAP || late[0].purpose != 0 || late[1].purpose != 0 ->
        if
        :: nd[0].call == SWAP -> n = 0
        :: nd[1].call == SWAP -> n = 1
        :: late[0].purpose != 0 -> n = 2
        :: late[1].purpose != 0 -> n = 3
        fi;
        d_step {
            if
            :: n < 2 ->
                if
                :: nd[n].pending.recorded && cur == nd[n].pending.expected + 1 ->
                    nd[n].call = WON
                :: else ->
                    if
                    :: FOLLOWS(nd[n].pending) -> record(nd[n].pending, n); nd[n].call = WON
                    :: else -> nd[n].call = LOST
                    fi
                fi;
                nd[n].answer = cur
            :: else ->
                if
                :: FOLLOWS(late[n - 2]) -> record(late[n - 2], n - 2)
                :: else
                fi;
                forget_proposal(late[n - 2])
            fi;
            tidy();
            n = 0
        }
    }
    od
}

inline die(n) {
    end_service(n);
#ifdef BROKEN_OLD_ROLE
    served[n] = IS_SERVING(n);
#endif
    close_session(n);
    nd[n].phase = DOWN;
    nd[n].known = 0;
    nd[n].fresh = 0;
    nd[n].storing = 0;
    nd[n].call = IDLE;
    nd[n].answer = 0;
    forget_proposal(nd[n].pending);
    nd[n].epoch = 0;
    nd[n].inc = 0;
    nd[n].whole = 0
}

// Nobody else is in sync: acknowledged already, or by an answer that is on its way.
inline excuse(n, gone_ops) {
    if
    :: COUNTED_INC(n) != 0 && COUNTED_INC(O(n)) == 0 -> excused = excused | (gone_ops)
    :: COUNTED_INC(n) != 0 && COUNTED_INC(O(n)) != 0 && !COUNTS(O(n)) ->
        excused = excused | (born & ~synced & ~(nd[0].content & nd[1].content))
    :: else
    fi
}

proctype world() {
    byte n, lost;
end:
    do
    :: d_step {
        IS_UP(0) && IS_UP(1) && !nd[0].session && !nd[1].session ->
        purge(0);
        purge(1);
        nd[0].session = 1;
        nd[1].session = 1
    }
    :: atomic {  // a process is killed
        faults > 0 && (IS_UP(0) || IS_UP(1)) ->
        if
        :: IS_UP(0) -> n = 0
        :: IS_UP(1) -> n = 1
        fi;
        faults--;
        may_leave_late(n);
        d_step {
            die(n);
            tidy();
            n = 0
        }
    }
    :: atomic {  // a machine loses its power, with or without what it had sent
        faults > 0 ->
        if
        :: n = 0
        :: n = 1
        fi;
        faults--;
        may_leave_late(n);
        if
        :: purge(n)
        :: skip
        fi;
        if
        :: lost = nd[n].content & ~nd[n].durable
        :: nd[n].content != nd[n].durable -> lost = 0
        fi;
        d_step {
            die(n);
#ifndef BROKEN_SAME_INCARNATION
            nd[n].inc_disk = 0;
#endif
            nd[n].content = nd[n].content & ~lost;
            nd[n].durable = nd[n].content;
            excuse(n, lost);
            lost = 0;
            check();
            tidy();
            n = 0
        }
    }
    :: atomic {
        !IS_UP(0) && gone != 0 || !IS_UP(1) && gone != 1 ->
        if
        :: !IS_UP(0) && gone != 0 -> n = 0
        :: !IS_UP(1) && gone != 1 -> n = 1
        fi;
        d_step {
            nd[n].phase = WAIT;
            nd[n].epoch = nd[n].epoch_disk;
            nd[n].inc = nd[n].inc_disk;
            nd[n].whole = nd[n].whole_disk;
#ifdef BROKEN_OLD_ROLE
            if
            :: served[n] -> nd[n].known = nd[n].epoch; begin_alone(n)
            :: else
            fi;
#endif
            n = 0
        }
    }
    :: atomic {  // an answer of the witness is lost: a cut in that direction alone
        faults > 0 && (nd[0].call >= WON || nd[1].call >= WON) ->
        if
        :: nd[0].call >= WON -> n = 0
        :: nd[1].call >= WON -> n = 1
        fi;
        d_step { faults--; ask_again(n); n = 0 }
    }
    :: d_step {  // the witness dies and comes back: what it had stored it knows
#ifdef BROKEN_WITNESS_FORGETS
        faults > 0 && cur > 1 ->
        cur--;
#else
        faults > 0 && nd[0].call >= WON && nd[1].call >= WON ->
#endif
        faults--;
        if
        :: nd[0].call >= WON -> ask_again(0)
        :: else
        fi;
        if
        :: nd[1].call >= WON -> ask_again(1)
        :: else
        fi
    }
    :: d_step { faults > 0 -> faults = 0 }  // from here on nothing new goes wrong
    :: d_step {  // what is down now may stay so
        faults == 0 && gone == 2 && (!IS_UP(0) || !IS_UP(1)) && (IS_UP(0) || IS_UP(1)) ->
        gone = (IS_UP(0) -> 1 : 0)
    }
    od
}

#define PAIRED(n) (nd[n].phase == PRIMARY && nd[O(n)].phase == SECONDARY && \
    nd[n].content == nd[O(n)].content && nd[n].in_flight == 0 && nd[n].waiting == 0 && \
    (acked & ~excused & ~nd[n].content) == 0 && reg[cur].inc[0] == nd[0].inc && \
    reg[cur].inc[1] == nd[1].inc && reg[cur].serving == n)
// The node that is left serves if it is in sync, or was the only one when it was restarted.
#define MUST_SERVE(n) (reg[cur].inc[n] != 0 && (reg[cur].inc[n] == nd[n].inc || \
    (IS_ONLY(n, cur) && nd[n].epoch >= cur)))
#define GOES_ON(n) (nd[n].phase == ALONE || (nd[n].phase == WAIT && !MUST_SERVE(n)))

// Runs when nothing else can.
proctype judge() {
end:
    do
    :: atomic {
        timeout && !ended ->
        assert(faults == 0);
        if
#ifdef ONLY_SAFETY
        :: true
#else
        :: gone == 0 -> assert(GOES_ON(1))
        :: gone == 1 -> assert(GOES_ON(0))
        :: else -> assert(PAIRED(0) || PAIRED(1))  // P1
#endif
        fi;
        ended = 1
    }
    od
}

// Node 0 serves, node 1 is in sync.
init {
    atomic {
        reg[1].serving = 0;
        byte m;
        for (m : 0 .. 1) {
            reg[1].inc[m] = 1;
            reg[1].prev[m] = 1;
            nd[m].inc = 1;
            nd[m].inc_disk = 1;
            nd[m].known = 1;
            nd[m].fresh = 1;
            nd[m].epoch = 1;
            nd[m].epoch_disk = 1;
            nd[m].whole = 1;
            nd[m].whole_disk = 1;
            nd[m].session = 1
        }
        m = 0;
        nd[0].phase = PRIMARY;
        nd[1].phase = SECONDARY;
        run node(0);
        run node(1);
        run witness();
        run world();
        run judge()
    }
}
