/* Runs kernels on operands from stdin and writes their results to stdout, without any library.
 *
 * A call is six words (kernel, fields of the arguments that are addresses, rows, tiles, bytes of operands, bytes of results) and
 * the operands, which begin with the arguments; addresses are offsets into them. Results lie behind the operands. */

typedef unsigned long word;
typedef void kernel(const word *args, word row_begin, word row_end, word tile_begin, word tile_end);

extern kernel *const kernels[];

enum { READ = 63, WRITE = 64, EXIT = 93, ROOM = 1 << 26, FIELDS = 64 };

static char memory[ROOM] __attribute__((aligned(64)));

static long system_call(long number, long a, long b, long c) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}

/* Moves all bytes; an end before the first one that is read ends the program well. */
static void move(int number, int file, char *at, word count) {
  for (word done = 0; done < count;) {
    long got = system_call(number, file, (long)(at + done), (long)(count - done));
    if (got <= 0) {
      system_call(EXIT, done == 0 && number == READ ? 0 : 1, 0, 0);
    }
    done += (word)got;
  }
}

void _start(void) {
  for (;;) {
    static word head[6];
    move(READ, 0, (char *)head, sizeof head);
    if (head[4] > ROOM || head[5] > ROOM - head[4]) {
      system_call(EXIT, 2, 0, 0);
    }
    move(READ, 0, memory, head[4]);
    word *args = (word *)memory;
    for (int field = 0; field < FIELDS; field++) {
      if (head[1] >> field & 1) {
        args[field] += (word)memory;
      }
    }
    kernels[head[0]](args, 0, head[2], 0, head[3]);
    move(WRITE, 1, memory + head[4], head[5]);
  }
}
