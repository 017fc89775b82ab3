// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// setLog is the one place where logging is set up: structured lines on
// standard error, from warnings upwards unless another level is named. The
// libraries below log to the same logger.
func setLog(to io.Writer, level string) error {
	logrus.SetOutput(to)
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	logrus.SetLevel(logrus.WarnLevel)
	if level == "" {
		return nil
	}
	var names []string
	for _, l := range logrus.AllLevels {
		names = append(names, l.String())
		if l.String() == level {
			logrus.SetLevel(l)
			return nil
		}
	}
	hint := ""
	if near, ok := spell.Nearest(level, names); ok {
		hint = "did you mean " + near + "? "
	}
	return usagef("there is no log level %s; %sthe levels are %s", visible.Text(level), hint, strings.Join(names, ", "))
}
