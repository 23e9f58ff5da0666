/* SPDX-License-Identifier: Apache-2.0 */
/* Uses an installed libgemel from C: a configuration of which the library finds the mistake. */
#include <gemel.h>

#include <stdio.h>

int main(void) {
    char why[256];
    gemel_options options = GEMEL_OPTIONS_INIT;
    options.config_text = "[clusters]\n";
    gemel_node* node = gemel_open(&options, why, sizeof why);
    printf("%s\n%s\n%s\n", gemel_version(), why, gemel_error_text(GEMEL_NOT_SERVING));
    return node == NULL ? 0 : 1;
}
