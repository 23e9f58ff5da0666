// SPDX-License-Identifier: Apache-2.0
// How requests reach the members of an etcd cluster: an interface, so that the arbiter's decisions
// are tested without a network.
#pragma once

#include "engine/base/units.hpp"

#include <cstddef>
#include <functional>
#include <string>

namespace gemel {

struct EtcdRequest {
    std::size_t member = 0;  // index in the list of addresses
    std::string path;
    std::string body;
    Duration limit;  // within which it is answered
};
struct EtcdReply {
    bool is_answered = false;      // by HTTP, with whatever status
    bool may_have_arrived = true;  // when not answered: false if nothing left this node
    int http_status = 0;
    std::string body;   // of bounded size
    std::string error;  // when not answered: "Connection refused"
};

// Loop thread only. At most one request is outstanding; `done` comes exactly once, from the loop,
// never inside the call, and within the request's limit or a little more. No callback after
// destruction.
class EtcdTransport {
   public:
    virtual ~EtcdTransport() = default;
    virtual void ask(EtcdRequest request, std::function<void(const EtcdReply&)> done) = 0;
};

}  // namespace gemel
