// SPDX-License-Identifier: Apache-2.0
#include "node/mirror_service.hpp"

#include <utility>

namespace gemel {

NodeMirrorService::NodeMirrorService(std::string mirror, std::vector<VirtualAddress> addresses,
                                     MirrorFrontEnd& front_end, Application& application,
                                     VirtualIp& virtual_ip, MirrorEventSink& events)
    : mirror_(std::move(mirror)),
      addresses_(std::move(addresses)),
      front_end_(front_end),
      application_(application),
      virtual_ip_(virtual_ip),
      events_(events) {}

void NodeMirrorService::report(LogLevel level, const std::string& text) noexcept {
    events_.event(mirror_, level, "service", text);
}

void NodeMirrorService::claim_addresses() noexcept {
    for (const VirtualAddress& address : addresses_) {
        std::string sentence;
        if (!virtual_ip_.claim(address, sentence).ok()) {
            report(LogLevel::error, address.to_string() + " could not be claimed: " + sentence);
        }
    }
}

void NodeMirrorService::drop_addresses() noexcept {
    for (const VirtualAddress& address : addresses_) {
        std::string sentence;
        if (!virtual_ip_.drop(address, sentence).ok()) {
            report(LogLevel::error, address.to_string() + " could not be dropped: " + sentence);
        }
    }
}

void NodeMirrorService::start_application() noexcept {
    start_wanted_ = true;
    if (!stopping_) start_now();
}

void NodeMirrorService::start_now() noexcept {
    start_wanted_ = false;
    front_end_.begin_use();
    application_.start([this](const CommandOutcome& outcome) {
        if (!outcome.ok) report(LogLevel::error, "the start command " + outcome.sentence);
    });
}

void NodeMirrorService::stop_application(std::function<void()> done) noexcept {
    start_wanted_ = false;
    when_stopped_.push_back(std::move(done));
    if (stopping_) return;
    stopping_ = true;
    front_end_.end_use(
        [this] { application_.stop([this](const CommandOutcome& outcome) { stopped(outcome); }); });
}

void NodeMirrorService::stopped(const CommandOutcome& outcome) noexcept {
    stopping_ = false;
    if (!outcome.ok) report(LogLevel::error, "the stop command " + outcome.sentence);
    for (const auto& callback : std::exchange(when_stopped_, {})) callback();
    if (start_wanted_ && !stopping_) start_now();
}

}  // namespace gemel
