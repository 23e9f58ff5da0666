// SPDX-License-Identifier: Apache-2.0
#include "controller/mirror_verify.hpp"

#include "controller/duration.hpp"
#include "controller/marked_resync.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

namespace {

constexpr Duration kMarkAgain = Duration::seconds(1);
// A scheduled run that has been broken off is tried again after this time, or its period.
constexpr Duration kTryAgain = Duration::seconds(600);

std::string objects(std::uint64_t count) {
    return std::to_string(count) + (count == 1 ? " object" : " objects");
}

}  // namespace

MirrorVerify::MirrorVerify(const World& world, Options options)
    : world_(world), options_(std::move(options)) {
    const auto record = read_verify_record(world_.loop.vfs(), world_.directory);
    if (record) record_ = *record;
}

MirrorVerify::~MirrorVerify() {
    *alive_ = false;
    if (source_ != nullptr) world_.replica.set_verify_party(nullptr);
}

std::string MirrorVerify::start(const Request& request) {
    if (step_ != Step::idle) {
        return step_ == Step::comparing
                   ? "a verify of '" + options_.mirror + "' is under way already: 'gemel verify " +
                         options_.mirror + " --stop' ends it"
                   : "what a verify of '" + options_.mirror + "' has found is being mended";
    }
    if (world_.replica.role() != ReplicaRole::primary) {
        const MirrorState state = world_.node.machine().state();
        std::string why = "a verify compares two copies that are in sync, and '" + options_.mirror +
                          "' is " + std::string(mirror_state_name(state)) + " on " + options_.node;
        if (state == MirrorState::primary) {
            why = "the other node has just been lost: a verify compares two copies in sync";
        } else if (state == MirrorState::secondary) {
            why = "a verify is started on the node that serves: '" + options_.mirror +
                  "' is served by " + options_.peer;
        }
        return why;
    }
    begin(request, false);
    return {};
}

std::string MirrorVerify::stop() {
    if (step_ == Step::comparing) {
        source_->stop();
        return {};
    }
    if (step_ == Step::idle) return "no verify of '" + options_.mirror + "' is under way";
    return "the verify has ended; what differs is being mended, and that ends by itself";
}

void MirrorVerify::begin(const Request& request, bool scheduled) {
    request_ = request;
    ++run_;
    told_ = 0;
    report_ = VerifyReport();
    result_ = VerifyResult();
    result_.began = world_.loop.wall_time();
    result_.scheduled = scheduled;
    step_ = Step::comparing;
    VerifySource::Options options;
    options.rate = request.rate;
    options.on_difference = guarded(
        [this](std::uint16_t volume, const std::string& path) { tell_difference(volume, path); });
    options.on_end = guarded([this, run = run_](VerifyEnd how, const std::string& why) {
        if (run == run_ && step_ == Step::comparing) ended(how, why);
    });
    auto source = std::make_unique<VerifySource>(world_.loop, world_.replica, progress_, report_,
                                                 std::move(options));
    source_ = source.get();
    world_.replica.set_verify_party(std::move(source));
    event(LogLevel::info,
          "a " + std::string(scheduled ? "scheduled " : "") +
              "verify begins: both copies are compared at " +
              (request.rate == 0 ? "any rate" : "up to " + format_size(request.rate) + "/s") +
              (request.repair ? ", and what differs is mended from " + options_.node : ""));
    source_->start();
}

void MirrorVerify::tell_difference(std::uint16_t volume, const std::string& path) {
    if (++told_ > kEventsMax) return;
    event(LogLevel::warning, shown(volume, path) + " is not the same on " + options_.peer +
                                 (told_ == kEventsMax ? " (further ones are not told here)" : ""));
}

void MirrorVerify::ended(VerifyEnd how, const std::string& why) {
    source_ = nullptr;
    world_.replica.set_verify_party(nullptr);
    result_.objects = progress_.objects_done;
    result_.bytes = progress_.bytes_compared;
    result_.differing = report_.count();
    switch (how) {
        case VerifyEnd::complete:
            if (report_.empty()) return finish(VerifyOutcome::equal, {});
            if (request_.repair) return mend();
            return finish(VerifyOutcome::differences, {});
        case VerifyEnd::stopped:
            return finish(VerifyOutcome::stopped, why);
        case VerifyEnd::lost:
        case VerifyEnd::failed:
            return finish(VerifyOutcome::failed, why);
    }
}

// A copy that the disk has lost is no source: the kernel tells of it at a sync, before anything of
// the other node's is overwritten.
void MirrorVerify::mend() {
    step_ = Step::syncing;
    world_.replica.sync_everything(guarded([this](Status status) {
        if (step_ != Step::syncing) return;
        if (status.ok() && world_.replica.role() == ReplicaRole::primary) return mark();
        if (!status.ok()) {
            // Whatever the reason: the kernel tells of lost pages once.
            world_.replica.fail_locally(as_disk_failure(status),
                                        "this node's copy could not be made durable");
        }
        finish(VerifyOutcome::failed, status.ok()
                                          ? "nothing was mended: this node does not serve any more"
                                          : "nothing was mended: this node's disk has failed");
    }));
}

void MirrorVerify::mark() {
    step_ = Step::marking;
    next_try_ = world_.loop.now() + kMarkAgain;
    event(LogLevel::info, objects(report_.count()) + " that differ are mended from " +
                              options_.node + ": a resync of exactly these begins");
    resync_marked(world_.intents, world_.replica, &world_.node, Command::resync_changed,
                  {report_.keys(), report_.missing()}, guarded([this](bool success) {
                      if (step_ == Step::marking && success) step_ = Step::mending;
                  }));
}

void MirrorVerify::finish(VerifyOutcome outcome, const std::string& why) {
    step_ = Step::idle;
    result_.ended = world_.loop.wall_time();
    result_.outcome = outcome;
    result_.why = why;
    if (outcome == VerifyOutcome::mended) result_.mended = result_.differing;
    const std::string figures =
        objects(result_.objects) + " and " + format_size(result_.bytes) + " compared";
    const std::string count = objects(result_.differing);
    switch (outcome) {
        case VerifyOutcome::equal:
            event(LogLevel::info, "verify: the copies are equal, " + figures);
            break;
        case VerifyOutcome::differences:
            event(LogLevel::warning,
                  "verify: " + count + " not the same on " + options_.peer + ", " + figures);
            break;
        case VerifyOutcome::mended:
            event(LogLevel::warning, "verify: " + count + " not the same on " + options_.peer +
                                         ", " + figures + "; all have been mended");
            break;
        case VerifyOutcome::stopped:
        case VerifyOutcome::failed:
            event(LogLevel::warning, "verify: not completed: " + why + "; " + figures + ", " +
                                         count + " not the same");
            break;
    }
    if (outcome == VerifyOutcome::failed) {
        next_try_ = world_.loop.now() + std::min(kTryAgain, options_.period);
    } else {
        record_.counted_from = result_.began;
    }
    record_.last = result_;
    store();
}

void MirrorVerify::check() noexcept {
    const ReplicaRole role = world_.replica.role();
    if (step_ == Step::marking && world_.replica.is_serving()) {
        // Another change of the register may have been under way.
        if (world_.loop.now() >= next_try_) mark();
    } else if (step_ == Step::marking) {
        finish(VerifyOutcome::failed, "this node ceased to serve before it was mended");
    } else if (step_ == Step::mending && role == ReplicaRole::primary) {
        finish(VerifyOutcome::mended, {});
    } else if (step_ == Step::mending && !world_.replica.is_serving()) {
        finish(VerifyOutcome::failed,
               "this node ceased to serve before it was mended; it goes on where it is served");
    }
    if (step_ == Step::idle && options_.period > Duration{}) check_schedule();
}

void MirrorVerify::check_schedule() noexcept {
    if (world_.replica.role() != ReplicaRole::primary) return;
    const WallTime now = world_.loop.wall_time();
    // Never before, or by a clock that was wrong.
    if (record_.counted_from == WallTime{} || now < record_.counted_from) {
        record_.counted_from = now;
        return store();
    }
    const std::int64_t elapsed = now.seconds - record_.counted_from.seconds;
    if (elapsed < options_.period.ns / 1'000'000'000 || world_.loop.now() < next_try_) return;
    begin({}, true);
}

// --- The record ----------------------------------------------------------------------------------

void MirrorVerify::store() noexcept {
    if (is_storing_) {
        stores_again_ = true;
        return;
    }
    is_storing_ = true;
    stored_ = record_;
    world_.loop.offload(*this);
}

void MirrorVerify::run() noexcept {
    // It informs people and counts days: without it the next start begins to count anew.
    (void)write_verify_record(world_.loop.vfs(), world_.directory, stored_);
}

void MirrorVerify::done() noexcept {
    is_storing_ = false;
    if (std::exchange(stores_again_, false)) store();
}

// --- For people ----------------------------------------------------------------------------------

void MirrorVerify::event(LogLevel level, const std::string& text) {
    world_.events.event(options_.mirror, level, "verify", text);
}

std::string MirrorVerify::shown(std::uint16_t volume, const std::string& path) const {
    return path.empty() ? options_.volumes[volume] : options_.volumes[volume] + '/' + path;
}

VerifyStatus MirrorVerify::status() const {
    VerifyStatus status;
    status.run = run_;
    status.period_s = static_cast<std::uint64_t>(options_.period.ns / 1'000'000'000);
    status.last = record_.last;
    if (step_ == Step::idle) return status;
    VerifyRunning running;
    running.began = result_.began;
    running.mends = step_ != Step::comparing;
    running.done_bytes = progress_.done_bytes;
    running.total_bytes = progress_.total_bytes;
    running.rate_bytes_per_s = progress_.rate_bytes_per_s;
    running.objects = progress_.objects_done;
    running.differing = report_.count();
    if (running.rate_bytes_per_s > 0 && running.total_bytes >= running.done_bytes) {
        running.eta_s = (running.total_bytes - running.done_bytes) / running.rate_bytes_per_s;
    }
    status.running = running;
    return status;
}

std::vector<VerifyFinding> MirrorVerify::findings() const {
    std::vector<VerifyFinding> findings;
    for (const VerifyDifference& one : report_.differences()) {
        VerifyFinding finding;
        finding.volume = options_.volumes[one.volume];
        finding.path = shown(one.volume, one.path);
        for (const VerifyDetail& detail : one.details) {
            finding.details.push_back({detail.what, detail.here, detail.there});
        }
        for (const ByteRange& range : one.content) {
            finding.content.emplace_back(range.begin, range.end);
        }
        for (const ByteRange& range : one.holes) finding.holes.emplace_back(range.begin, range.end);
        findings.push_back(std::move(finding));
    }
    return findings;
}

}  // namespace gemel
