// SPDX-License-Identifier: Apache-2.0
#include "controller/ping_vote.hpp"

#include "engine/base/probe.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

PingVote::PingVote(Loop& loop, std::unique_ptr<PingSource> pings, Options options)
    : loop_(loop), options_(std::move(options)), pings_(std::move(pings)) {}

void PingVote::session_begins() noexcept {
    is_agreed_ = false;
    asked_at_ = {};
    ++asked_;  // no answer to an earlier question counts
}

void PingVote::notice_pause(Instant now) {
    // Half of detection and a heartbeat, which is at most a third of it, are less than the silence
    // that the peer waits for.
    if (ran_at_ && now - *ran_at_ >= options_.detect / 2) {
        GEMEL_PROBE("ping vote: this node was paused");
        disagreed();
    }
    ran_at_ = ran_at_ ? std::max(*ran_at_, now) : now;
}

void PingVote::tick(bool connected) {
    const Instant now = loop_.now();
    notice_pause(now);
    if (!connected) {
        is_agreed_ = false;
        return;
    }
    if (is_agreed_) {
        agreed_until_ = now;
    } else if (asked_at_ == Instant{} || now - asked_at_ >= options_.detect) {
        asked_at_ = now;
        if (refresh_) refresh_(++asked_);
    }
}

void PingVote::agreed(std::uint64_t refresh) {
    if (refresh == asked_) is_agreed_ = true;
}

void PingVote::disagreed() {
    is_agreed_ = false;
    agreed_until_.reset();
    asked_at_ = {};
    ++asked_;
}

std::string PingVote::objection(Instant now) {
    notice_pause(now);
    if (!is_silent_) return options_.peer + " is alive: waits for its session";
    const Duration chance = options_.detect * 2 + options_.slack;
    if (!agreed_until_) {
        return options_.peer +
               " may have gone on alone before this node could ask it: waits for it";
    }
    if (now - *agreed_until_ > chance) {
        GEMEL_PROBE("ping vote: the chance is over");
        return options_.peer +
               " was lost some time ago and may have gone on alone since: waits "
               "for it";
    }
    return {};
}

void PingVote::ask(Done done) {
    if (done_) {  // a ping that has not ended within the limit of the question before
        return loop_.post([done = std::move(done)] { done(false, "the pings have not ended"); });
    }
    done_ = std::move(done);
    if (std::string why = objection(loop_.now()); !why.empty()) {
        return loop_.post([this, why, alive = std::weak_ptr<bool>(alive_)] {
            if (!alive.expired()) answer(false, why);
        });
    }
    pings_->ping([this](const PingAnswer& reply) {
        const std::string why = objection(std::max(reply.at, loop_.now()));
        if (!why.empty()) return answer(false, why);
        if (!reply.is_answered) {
            return answer(false, reply.text + ": this node may be the one that is cut off");
        }
        answer(true, "decided by a ping of " + reply.text + ", so that " + options_.peer +
                         " may serve, too, if only the way between the nodes is cut");
    });
}

void PingVote::answer(bool may, std::string text) {
    const Done done = std::exchange(done_, nullptr);
    done(may, text);
}

}  // namespace gemel
