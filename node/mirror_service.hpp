// SPDX-License-Identifier: Apache-2.0
// MirrorService of a real node: the mirror's addresses, its application, and when applications may
// use the volumes at all.
#pragma once

#include "controller/application.hpp"
#include "controller/ports.hpp"
#include "engine/base/log.hpp"
#include "netdev/virtual_ip.hpp"

#include "node/mirror_front_end.hpp"
#include <functional>
#include <string>
#include <vector>

namespace gemel {

class NodeMirrorService final : public MirrorService {
   public:
    // Requires: all references outlive it.
    NodeMirrorService(std::string mirror, std::vector<VirtualAddress> addresses,
                      MirrorFrontEnd& front_end, Application& application, VirtualIp& virtual_ip,
                      MirrorEventSink& events);

    void claim_addresses() noexcept override;
    void drop_addresses() noexcept override;
    void start_application() noexcept override;
    void stop_application(std::function<void()> done) noexcept override;

   private:
    void start_now() noexcept;
    void stopped(const CommandOutcome& outcome) noexcept;
    void report(LogLevel level, const std::string& text) noexcept;

    std::string mirror_;
    std::vector<VirtualAddress> addresses_;
    MirrorFrontEnd& front_end_;
    Application& application_;
    VirtualIp& virtual_ip_;
    MirrorEventSink& events_;
    bool stopping_ = false;
    bool start_wanted_ = false;
    std::vector<std::function<void()>> when_stopped_;
};

}  // namespace gemel
