// SPDX-License-Identifier: Apache-2.0
// Tells systemd about the daemon (the protocol of sd_notify(3): one datagram of assignments to the
// socket named by NOTIFY_SOCKET).
#pragma once

#include <string_view>

namespace gemel {

// "READY=1", "STOPPING=1", "STATUS=...". Does nothing where nobody listens.
void notify_service_manager(std::string_view assignments) noexcept;

}  // namespace gemel
