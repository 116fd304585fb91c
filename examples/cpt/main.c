/* ewc-cpt: continual pre-training from the command line. Chooses the command; each has a file of its own. */
#include <stdio.h>
#include <string.h>

#include "program.h"

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} command;

static const command commands[] = {
    {"tokenize", command_tokenize, "text files to token ids (.npy)"},
    {"init", command_init, "a model with random weights from a config.json"},
    {"plan", command_plan, "the memory that a training run needs, before anything is taken"},
    {"fisher", command_fisher, "the Fisher diagonal of a model on old text"},
    {"train", command_train, "further pre-training, with or without a penalty"},
    {"eval", command_eval, "loss and perplexity on token files, accuracy on multiple-choice items"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *file)
{
    fprintf(file,
            "Usage: ewc-cpt COMMAND [options]\n\n"
            "Continual pre-training of Gemma 2 models with elastic weight consolidation (libewc %s).\n\nCommands:\n",
            ewc_version());
    for (int i = 0; i < COMMANDS; i++) fprintf(file, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(
        file,
        "\newc-cpt COMMAND --help explains a command.\n\nExit codes: %d success, %d something else failed (memory, "
        "device), %d wrong option or argument,\n%d a file is missing, malformed, does not fit or exists already, %d a "
        "NaN or infinity appeared, %d interrupted.\n",
        CPT_OK, CPT_OTHER, CPT_USAGE, CPT_INPUT, CPT_NUMERIC, CPT_INTERRUPTED);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CPT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return CPT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("ewc-cpt %s\n", ewc_version());
        return CPT_OK;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "ewc-cpt: there is no command '%s'\nSee: ewc-cpt --help\n", argv[1]);
    return CPT_USAGE;
}
