// SPDX-License-Identifier: Apache-2.0
#include "controller/marked_resync.hpp"

#include <memory>

namespace gemel {

namespace {

// Of a copy that follows, the intents are what its source is told.
void mark(Replica& replica, const MarkedObjects& marked) {
    if (!replica.is_serving()) return;
    for (const IntentKey& key : marked.keys) replica.mark_intent(key);
    for (const auto& [volume, object] : marked.missing) {
        if (replica.volume(volume).exists(object)) replica.dirty_map(volume).mark_absent(object);
    }
}

}  // namespace

// Intents first: they are what a crash leaves. They are touched again when they are durable, so
// that no round of before clears them. The dirty map comes last: while the peer counts as in sync,
// every op must be fit to be shipped.
void resync_marked(IntentLog& intents, Replica& replica, MirrorNode* node, Command command,
                   MarkedObjects marked, std::function<void(bool)> done) {
    intents.touch(marked.keys);
    auto shared = std::make_shared<const MarkedObjects>(std::move(marked));
    intents.commit(
        [&intents, &replica, node, command, shared, done = std::move(done)](Status status) {
            if (!status.ok()) return done(false);
            intents.touch(shared->keys);
            if (node == nullptr) return done(true);
            node->command(command, [&replica, shared, done](bool success, const std::string&) {
                if (success) mark(replica, *shared);
                done(success);
            });
        });
}

}  // namespace gemel
