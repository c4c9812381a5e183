package main

import "strings"

const hexDigits = "0123456789ABCDEF"

func every(text string, fits func(byte) bool) bool {
	for at := 0; at < len(text); at++ {
		if !fits(text[at]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool      { return c >= '0' && c <= '9' }
func isUpper(c byte) bool      { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool      { return c >= 'a' && c <= 'z' }
func isAlnum(c byte) bool      { return isDigit(c) || isUpper(c) || isLower(c) }
func isVisible(c byte) bool    { return c > ' ' && c < 0x7f }
func isLowerHex(c byte) bool   { return isDigit(c) || (c >= 'a' && c <= 'f') }
func isKeyByte(c byte) bool    { return isDigit(c) || isUpper(c) }
func isHeaderByte(c byte) bool { return isLower(c) || isDigit(c) || c == '-' }
func isToken(c byte) bool      { return isAlnum(c) || strings.IndexByte("._-", c) >= 0 }
func isUnreserved(c byte) bool { return isAlnum(c) || strings.IndexByte("-._~", c) >= 0 }
func isTokenByte(c byte) bool  { return isAlnum(c) || strings.IndexByte("+/=_.~-", c) >= 0 }
func isName(c byte) bool       { return isLower(c) || isDigit(c) || strings.IndexByte("._-", c) >= 0 }
func isService(c byte) bool    { return isAlnum(c) || strings.IndexByte("._:-", c) >= 0 }
func isRoleName(c byte) bool   { return isAlnum(c) || strings.IndexByte("_+=,.@-", c) >= 0 }

// percentDecode refuses what only some parsers understand: a bare plus, half an escape, control characters.
func percentDecode(text string) (string, bool) {
	if strings.IndexByte(text, '%') < 0 {
		return text, every(text, isBare)
	}
	decoded := make([]byte, 0, len(text))
	for at := 0; at < len(text); at++ {
		c := text[at]
		if c == '%' {
			if at+2 >= len(text) {
				return "", false
			}
			high, low := unhex(text[at+1]), unhex(text[at+2])
			if high < 0 || low < 0 || !isVisible(byte(high<<4|low)) {
				return "", false
			}
			c, at = byte(high<<4|low), at+2
		} else if !isBare(c) {
			return "", false
		}
		decoded = append(decoded, c)
	}
	return string(decoded), true
}

func isBare(c byte) bool { return isUnreserved(c) || strings.IndexByte("/;:=,@", c) >= 0 }

func percentEncode(into *strings.Builder, text string) {
	for at := 0; at < len(text); at++ {
		if c := text[at]; isUnreserved(c) {
			into.WriteByte(c)
		} else {
			into.WriteByte('%')
			into.WriteByte(hexDigits[c>>4])
			into.WriteByte(hexDigits[c&15])
		}
	}
}

func unhex(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
