// SPDX-License-Identifier: Apache-2.0
#include "controller/superblock_writer.hpp"

#include <utility>

namespace gemel {

void SuperblockWriter::store(const Superblock& superblock,
                             std::function<void(Status)> done) noexcept {
    queue_.push_back({superblock, std::move(done)});
    std::vector<SuperblockVolume>& volumes = queue_.back().superblock.volumes;
    GEMEL_ASSERT(volumes.size() == volumes_.size());
    for (std::size_t i = 0; i < volumes.size(); ++i) volumes[i].volume_id = volumes_[i]->id();
    if (queue_.size() == 1) loop_.offload(*this);
}

// On a worker: the front stays in place while the loop may append behind it (std::deque).
void SuperblockWriter::run() noexcept {
    status_ = SuperblockFile::write(loop_.vfs(), directory_, queue_.front().superblock);
}

void SuperblockWriter::done() noexcept {
    const std::function<void(Status)> callback = std::move(queue_.front().done);
    const Status status = status_;
    queue_.pop_front();
    if (!queue_.empty()) loop_.offload(*this);
    callback(status);
}

}  // namespace gemel
