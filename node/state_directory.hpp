// SPDX-License-Identifier: Apache-2.0
// The directories that a node's process makes and holds for itself.
#pragma once

#include <string>
#include <utility>

namespace gemel {

// Makes it, and what leads to it, closed to others; one that was there stays as it is. False: `why`
// is a sentence for people, here and below.
bool make_directory(const std::string& path, std::string& why);

// One process a state directory, until it is gone with everything it had under way: two would each
// go on from what they once read there, and a witness would answer registers that another has
// changed. Held until destruction.
class DirectoryLock {
   public:
    DirectoryLock() noexcept = default;
    DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    DirectoryLock& operator=(DirectoryLock&&) = delete;
    ~DirectoryLock();

    // Requires: not taken. Waits for nobody.
    bool take(const std::string& path, std::string& why);

   private:
    int fd_ = -1;
};

}  // namespace gemel
