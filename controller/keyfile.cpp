// SPDX-License-Identifier: Apache-2.0
#include "controller/keyfile.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace gemel {
namespace {

constexpr std::string_view kHeading = "gemel cluster key 1\n";
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::size_t kFileSize = kHeading.size() + 2 * sizeof(ClusterKey) + 1;

class Descriptor {
   public:
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    [[nodiscard]] int get() const noexcept { return fd_; }

   private:
    int fd_;
};

std::string key_text(const ClusterKey& key) {
    std::string text(kHeading);
    for (const std::byte byte : key) {
        const auto value = std::to_integer<unsigned>(byte);
        text += kDigits[value >> 4];
        text += kDigits[value & 15];
    }
    return text + "\n";
}

bool decode_key(std::string_view text, ClusterKey& key) {
    if (text.size() != kFileSize || !text.starts_with(kHeading) || !text.ends_with('\n')) {
        return false;
    }
    for (std::size_t i = 0; i < key.size(); ++i) {
        const std::size_t high = kDigits.find(text[kHeading.size() + 2 * i]);
        const std::size_t low = kDigits.find(text[kHeading.size() + 2 * i + 1]);
        if (high == std::string_view::npos || low == std::string_view::npos) return false;
        key[i] = static_cast<std::byte>(high << 4 | low);
    }
    return true;
}

Status failure(std::string& sentence, std::string_view what, const std::string& path, int error) {
    sentence = std::string(what) + " '" + path + "': " + std::strerror(error);
    return Status::from_errno(error);
}

}  // namespace

Status make_key_file(const std::string& path, std::string& sentence) {
    ClusterKey key;
    if (getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) {
        return failure(sentence, "cannot draw random bytes for", path, errno);
    }
    const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0 && errno == EEXIST) {
        sentence = "'" + path + "' exists already, and a key is never overwritten";
        return Status::from_errno(EEXIST);
    }
    if (file.get() < 0) return failure(sentence, "cannot create", path, errno);
    const std::string text = key_text(key);
    errno = 0;
    if (write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        fchmod(file.get(), 0600) != 0 || fsync(file.get()) != 0) {
        const int error = errno != 0 ? errno : ENOSPC;
        unlink(path.c_str());
        return failure(sentence, "cannot write", path, error);
    }
    return {};
}

Result<ClusterKey> load_key_file(const std::string& path, std::string& sentence) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return failure(sentence, "cannot read the cluster key", path, errno);
    struct stat info {};
    if (fstat(file.get(), &info) != 0) {
        return failure(sentence, "cannot read the cluster key", path, errno);
    }
    if ((info.st_mode & 077) != 0) {
        sentence = "the cluster key '" + path + "' may be read by others than its owner; chmod 600";
        return Status(Code::refused);
    }
    std::string text(kFileSize + 1, '\0');
    const ssize_t size = read(file.get(), text.data(), text.size());
    if (size < 0) return failure(sentence, "cannot read the cluster key", path, errno);
    text.resize(static_cast<std::size_t>(size));
    ClusterKey key;
    if (!decode_key(text, key)) {
        sentence = "'" + path + "' is no cluster key; `gemel keygen` makes one";
        return Status(Code::corrupt);
    }
    return key;
}

}  // namespace gemel
