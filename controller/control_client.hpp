// SPDX-License-Identifier: Apache-2.0
// Asks the daemon over its control socket: the other end of control_server.hpp. One request at a
// time; waits for the answer on the calling thread.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace gemel {

struct ControlAnswer {
    enum class Outcome : std::uint8_t {
        answered,   // http_status and body are the daemon's
        no_daemon,  // nobody answers at the socket
        timed_out,
        failed,  // no permission, a broken answer
    };
    Outcome outcome = Outcome::failed;
    unsigned http_status = 0;
    std::string body;
    std::string sentence;  // why there is no answer; or the daemon's {"error": sentence}

    [[nodiscard]] bool is_done() const noexcept {
        return outcome == Outcome::answered && http_status == 200;
    }
};

class ControlClient {
   public:
    explicit ControlClient(const std::string& run_directory);
    ~ControlClient();
    ControlClient(const ControlClient&) = delete;
    ControlClient& operator=(const ControlClient&) = delete;

    // `path`: "/v1/status". A `limit` of zero waits for ever.
    ControlAnswer get(const std::string& path, Duration limit);
    ControlAnswer post(const std::string& path, const std::string& body, Duration limit);

    // A part of a path, with everything that has a meaning in URLs escaped.
    static std::string escape(std::string_view part);

   private:
    ControlAnswer ask(const std::string& path, const std::string* body, Duration limit);

    std::string socket_path_;
    void* curl_;  // CURL*
};

}  // namespace gemel
