// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/io/world.hpp"

#include "tests/unit/io/sim_world.hpp"
#include "tests/unit/io/uring_world.hpp"

#include <fcntl.h>

namespace gemel::test {

std::vector<WorldKind> worlds() {
    return {{"uring", &UringWorld::make},
            {"uring_spinning", &UringWorld::make_spinning},
            {"uring_plain", &UringWorld::make_plain},
            {"uring_polled", &UringWorld::make_polled},
            {"sim", &SimWorld::make}};
}

std::vector<WorldKind> file_worlds() {
    return {{"uring", &UringWorld::make}, {"sim", &SimWorld::make}};
}

ScopedFd WorldTest::open_file(std::string_view name, int more_flags) {
    auto file = vfs().open_at(directory(), name, O_RDWR | O_CREAT | more_flags, 0644);
    EXPECT_TRUE(file.ok()) << file.status().to_string();
    return {vfs(), file.ok() ? file.value() : Fd{}};
}

std::string WorldTest::content(Fd file) {
    std::string text;
    std::byte buffer[4096];
    for (;;) {
        const auto count = vfs().pread(file, buffer, text.size());
        EXPECT_TRUE(count.ok()) << count.status().to_string();
        if (!count.ok() || count.value() == 0) return text;
        text += as_text({buffer, count.value()});
    }
}

void WorldTest::write_all(Fd file, std::string_view text, std::uint64_t offset) {
    while (!text.empty()) {
        const auto count = vfs().pwrite(file, as_bytes(text), offset);
        ASSERT_TRUE(count.ok()) << count.status().to_string();
        text.remove_prefix(count.value());
        offset += count.value();
    }
}

}  // namespace gemel::test
