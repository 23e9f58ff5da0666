// SPDX-License-Identifier: Apache-2.0
#include "node/state_directory.hpp"

#include "engine/base/assert.hpp"

#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

namespace gemel {

bool make_directory(const std::string& path, std::string& why) {
    std::error_code error;
    const bool is_new = std::filesystem::create_directories(path, error);
    if (is_new) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
    if (error) why = path + " can't be made: " + error.message();
    return !error;
}

DirectoryLock::~DirectoryLock() {
    if (fd_ >= 0) ::close(fd_);
}

bool DirectoryLock::take(const std::string& path, std::string& why) {
    GEMEL_ASSERT(fd_ < 0);
    fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0) return true;
    why = "another gemeld uses " + path +
          ", or a program that is a node itself: end it first, or name another state directory";
    return false;
}

}  // namespace gemel
