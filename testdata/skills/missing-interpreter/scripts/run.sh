#!/usr/bin/clawsup-no-such-interpreter
