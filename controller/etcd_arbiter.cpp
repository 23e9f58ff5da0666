// SPDX-License-Identifier: Apache-2.0
#include "controller/etcd_arbiter.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

constexpr int kHttpOk = 200;
// A member that is asked is given at least this, even if the time of the call is over then.
constexpr Duration kShareMin = Duration::milliseconds(50);

}  // namespace

EtcdArbiter::EtcdArbiter(Loop& loop, std::unique_ptr<EtcdTransport> transport, Options options)
    : loop_(loop),
      options_(std::move(options)),
      key_(etcd_key(options_.cluster, options_.mirror)),
      transport_(std::move(transport)) {
    GEMEL_ASSERT(!options_.members.empty());
}

void EtcdArbiter::read(std::function<void(const ReadAnswer&)> done) noexcept {
    Call call;
    call.read_done = std::move(done);
    begin(std::move(call));
    ask();
}

void EtcdArbiter::swap(const RegisterProposal& proposal,
                       std::function<void(const SwapAnswer&)> done) noexcept {
    Call call;
    call.proposal = proposal;
    call.swap_done = std::move(done);
    begin(std::move(call));
    // What was seen last is good for a comparison, which shows whether it still holds, and for
    // nothing else: that something else is recorded has to be read now.
    if (seen_ && seen_->status.ok() && judge(proposal, seen_->value) == SwapVerdict::won) {
        return send_txn();
    }
    ask();
}

void EtcdArbiter::begin(Call call) {
    GEMEL_ASSERT(!call_);
    call.deadline = loop_.now() + options_.limit;
    call_ = std::move(call);
}

void EtcdArbiter::ask() {
    const std::size_t count = options_.members.size();
    GEMEL_ASSERT(call_ && call_->asked < count);
    const Duration left = call_->deadline - loop_.now();
    EtcdRequest request;
    request.member = (first_ + call_->asked) % count;
    request.limit = std::max(left / static_cast<std::int64_t>(count - call_->asked), kShareMin);
    if (call_->step == Step::reading) {
        request.path = kEtcdRangePath;
        request.body = etcd_range_body(key_);
    } else {
        request.path = kEtcdTxnPath;
        request.body = etcd_txn_body(key_, seen_->entry, call_->document);
    }
    transport_->ask(std::move(request), [this](const EtcdReply& reply) { answered(reply); });
}

void EtcdArbiter::answered(const EtcdReply& reply) {
    GEMEL_ASSERT(call_);
    const bool swapping = call_->step == Step::swapping;
    if (swapping && (reply.is_answered || reply.may_have_arrived)) {
        call_->maybe_sent = true;
        unsettled_ = Unsettled{call_->proposal.value.token, seen_->entry.etcd};
    }
    if (!reply.is_answered) return member_failed(reply.error);
    // A member may refuse after it has passed the transaction on ("request timed out").
    if (reply.http_status != kHttpOk) {
        return member_failed(etcd_error(reply.body, reply.http_status));
    }
    if (swapping) return txn_answered(reply.body);
    read_answered(reply.body);
}

void EtcdArbiter::member_failed(const std::string& why) {
    const std::size_t count = options_.members.size();
    const std::size_t member = (first_ + call_->asked) % count;
    call_->failures[member] = options_.members[member].to_string() + ": " + why;
    ++call_->asked;
    if (call_->asked < count && loop_.now() < call_->deadline) return ask();
    // The one that failed first is asked last the next time.
    first_ = (first_ + 1) % count;
    // In the order of the configuration, so that the sentence stays the same.
    std::string list;
    for (const auto& [index, failure] : call_->failures) {
        list += (list.empty() ? "" : ", ") + failure;
    }
    give_up("no member of etcd answers: " + list);
}

EtcdArbiter::Seen EtcdArbiter::interpret(EtcdEntry entry) const {
    Seen seen;
    seen.entry = std::move(entry);
    if (!seen.entry.is_there) return seen;
    const Result<EtcdRegister> found = parse_etcd_document(seen.entry.document);
    if (!found.ok()) {
        seen.status = found.status();
        seen.text = found.status().code() == Code::foreign
                        ? "the key " + key_ +
                              " of etcd was written by another version of gemel, whose "
                              "format this one does not know"
                        : "the key " + key_ +
                              " of etcd holds something that is no register: see "
                              "'etcdctl get " +
                              key_ + "'; after 'etcdctl del " + key_ +
                              "' the node with the newest data is chosen by 'gemel promote " +
                              options_.mirror + " --force' there";
        return seen;
    }
    seen.value = found->value;
    if (found->etcd != seen.entry.etcd) {
        GEMEL_PROBE("etcd arbiter: a copy in another cluster");
        seen.status = Status(Code::foreign);
        seen.text = "the key " + key_ + " of etcd (" + describe(found->value) +
                    ") was written in another etcd cluster, from whose backup this one was made: "
                    "its copy may be older than what was recorded there; choose the node with the "
                    "newest data by 'gemel promote " +
                    options_.mirror + " --force' there";
    }
    return seen;
}

void EtcdArbiter::read_answered(const std::string& body) {
    Result<EtcdEntry> entry = parse_etcd_range(body);
    if (!entry.ok()) return member_failed("answered nonsense");
    const bool is_elsewhere = call_->swap_done && unsettled_ &&
                              unsettled_->token == call_->proposal.value.token &&
                              unsettled_->etcd != entry->etcd;
    if (is_elsewhere) {
        return member_failed("belongs to etcd cluster " + entry->etcd +
                             ", while what became of a change is known to cluster " +
                             unsettled_->etcd +
                             " only; if that one is gone for ever, restart gemeld");
    }
    first_ = (first_ + call_->asked) % options_.members.size();
    seen_ = interpret(std::move(entry).value());
    if (call_->swap_done) return judge_seen();
    finish(ReadAnswer{seen_->status, seen_->value, seen_->text});
}

void EtcdArbiter::judge_seen() {
    const RegisterProposal& proposal = call_->proposal;
    // A copy in another cluster settles nothing, even if it shows the proposal's own token.
    const bool may_follow =
        seen_->status.ok() || (proposal.forced && seen_->status.code() == Code::foreign);
    if (!may_follow) return give_up(seen_->text);
    const SwapVerdict verdict = judge(proposal, seen_->value);
    if (verdict == SwapVerdict::won) {
        // Somebody rewrites the same value with other bytes, and that again in this very moment.
        if (call_->step == Step::swapping) return give_up("the key " + key_ + " of etcd changes");
        return send_txn();
    }
    if (!seen_->status.ok()) return give_up(seen_->text);
    const bool is_own = verdict == SwapVerdict::repeated;
    finish(SwapAnswer{is_own ? SwapOutcome::won : SwapOutcome::lost, seen_->value, {}});
}

void EtcdArbiter::send_txn() {
    call_->step = Step::swapping;
    call_->asked = 0;
    call_->failures.clear();
    call_->document = etcd_document(call_->proposal.value, seen_->entry.etcd);
    ask();
}

void EtcdArbiter::txn_answered(const std::string& body) {
    Result<EtcdTxnAnswer> answer = parse_etcd_txn(body);
    if (!answer.ok()) return member_failed("answered nonsense");
    if (answer->entry.etcd != seen_->entry.etcd) {
        // If it was carried out, then in a cluster that the value does not name: it counts nowhere.
        GEMEL_PROBE("etcd arbiter: members of two clusters");
        return member_failed("belongs to another etcd cluster (" + answer->entry.etcd +
                             ") than was read from (" + seen_->entry.etcd +
                             "): 'address' of [arbiter] has to name the members of one");
    }
    first_ = (first_ + call_->asked) % options_.members.size();
    if (answer->succeeded) {
        EtcdEntry entry = seen_->entry;
        entry.is_there = true;
        entry.document = call_->document;
        seen_ = interpret(std::move(entry));
        return finish(SwapAnswer{SwapOutcome::won, call_->proposal.value, {}});
    }
    GEMEL_PROBE("etcd arbiter: the key has changed");
    seen_ = interpret(std::move(answer->entry));
    judge_seen();
}

// By value: it may be the text of what was seen, which goes here.
void EtcdArbiter::give_up(std::string text) {
    if (call_->read_done) return finish(ReadAnswer{Status(Code::disconnected), {}, text});
    // What was seen may be what makes it fail.
    seen_.reset();
    const SwapOutcome outcome = call_->maybe_sent ? SwapOutcome::unknown : SwapOutcome::unreachable;
    finish(SwapAnswer{outcome, {}, text});
}

void EtcdArbiter::finish(const ReadAnswer& answer) {
    const auto done = std::move(call_->read_done);
    call_.reset();
    done(answer);
}

void EtcdArbiter::finish(const SwapAnswer& answer) {
    const bool is_settled =
        answer.outcome == SwapOutcome::won || answer.outcome == SwapOutcome::lost;
    if (is_settled) unsettled_.reset();
    const auto done = std::move(call_->swap_done);
    call_.reset();
    done(answer);
}

}  // namespace gemel
